//! Stories: what a user does, told with the real binary, real git, a real sandbox and the scripted model over real HTTP.
//!
//! Each module is a story named for what happens. [`world`] is where they happen: a directory with a home, a data
//! directory and repositories of their own. A story acts through the command line alone and looks at exit codes, events
//! and files, so that everything behind it can be rebuilt without touching a story.

#![expect(clippy::unwrap_used, reason = "the helpers are test code too")]

#[path = "../../../crates/sandbox-docker/tests/it/engine.rs"]
mod engine;
mod fleet;
#[path = "../../../crates/store/tests/it/postgres.rs"]
#[expect(dead_code, reason = "the store's tests use more of it")]
mod postgres;
mod receiver;
mod repo;
mod script;
mod service;
mod world;

mod a_follow_up_continues;
mod a_library_lies_beside;
mod a_remote_repository;
mod a_secret_is_nowhere_in_plain_text;
mod a_stored_recipe;
mod a_task_is_put_away_and_deleted;
mod a_task_waits_for_a_person;
mod a_turn_goes_to_its_files;
mod a_worker_is_killed_twice;
mod agent_lies_about_tests;
mod an_outsider_stays_apart;
mod apply_and_branch;
mod ask_changes_nothing;
mod backup_and_restore;
mod cancel_keeps_the_partial_patch;
mod demo_and_doctor;
mod environment_is_tried_out;
mod environment_of_a_repository;
mod evil_model;
mod evil_runs;
mod fixes_a_bug_and_proves_it;
mod four_attempts;
mod hostile_file_names;
mod hostile_repositories;
mod hostile_repository;
mod images_and_limits;
mod json_lines;
mod killed_at_random;
mod least_privilege;
mod limits_stop;
mod login_and_logout;
mod logs_hold_no_secret;
mod model_faults;
mod no_sandbox;
mod ordinary_user;
mod sandboxes_are_containers;
mod spans_and_logs_hold_no_content;
mod steer_reaches_the_running_turn;
mod tasks_are_kept;
mod the_database_comes_later;
mod the_database_is_elsewhere;
mod the_decoy_ends_the_task;
mod the_documented_curl;
mod the_list_stays;
mod up_is_killed_and_returns;
mod up_stops_in_good_order;
mod wait_tells_by_exit_code;
mod webhooks_are_told;
mod who_may_do_what;
