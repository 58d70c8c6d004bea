//! Each test of the list over SQLite and over Postgres.

use crate::world::{Place, World};
use crate::{
    access, budgets, durability, interleavings, lifecycle, list, machines, migrations, opening, queue, suite,
    talk, trust,
};

macro_rules! over_both {
    ($($module:ident: $($name:ident)*;)*) => {
        mod sqlite {
            use super::*;
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    $module::$name(World::new(Place::sqlite()).await).await;
                }
            )*)*
        }
        mod postgres {
            use super::*;
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    $module::$name(World::new(Place::postgres()).await).await;
                }
            )*)*
        }
    };
}

over_both! {
    suite:
        a_new_task_is_queued_and_told
        a_wrong_task_is_refused_with_a_sentence
        one_key_makes_one_task
        one_key_at_the_same_time_makes_one_task
        tasks_are_listed_newest_first_in_pages
        the_oldest_turn_is_leased_first_and_once
        a_lease_can_be_for_one_task_alone
        a_turn_goes_its_way
        a_repeated_batch_is_stored_once
        a_gap_is_refused
        a_heartbeat_renews_the_lease_and_is_no_news
        a_stale_epoch_writes_nothing
        a_lost_worker_leaves_no_item_open
        the_last_try_ends_the_turn
        the_next_worker_gets_what_the_log_holds
        the_same_end_twice_is_one_end
        terminal_is_final
        a_cancel_ends_what_is_queued_and_asks_what_runs
        an_alarm_is_audited_and_told_once_and_stops_the_task
        a_worker_cannot_write_what_is_not_its_own
        a_page_is_bounded_by_bytes
        what_is_not_there_is_not_found;
    budgets:
        a_reservation_is_settled_by_what_was_spent
        all_budgets_that_apply_are_asked
        who_asks_for_a_turn_pays_for_it
        many_at_once_reserve_no_more_than_there_is
        a_raised_budget_wakes_what_waits_for_it
        a_new_day_is_a_new_budget
        what_was_spent_is_reported
        an_end_tells_what_was_spent_over_all_leases;
    access:
        a_repository_becomes_known_by_its_first_task
        an_old_login_in_a_url_is_for_the_worker_alone
        a_key_is_its_senders
        a_name_is_one_users
        the_local_owner_cannot_be_shut_out
        what_is_granted_must_exist
        a_token_opens_until_it_ends
        a_tokens_use_is_noted_once_a_minute
        each_change_is_told_once
        no_entry_can_be_tampered_with_unseen
        a_kept_head_shows_a_cut_log
        a_reset_is_told_with_every_later_lease
        what_lies_beside_is_for_those_who_may_run_tasks_there;
    trust:
        trust_falls_and_never_rises
        all_that_comes_with_an_outsiders_token_is_an_outsiders
        an_outsiders_words_reach_no_turn_that_a_worker_has_as_a_members;
    list:
        a_row_follows_its_turns
        a_list_is_searched
        changes_are_told_in_order_and_once
        changes_of_two_servers_leave_no_hole;
    queue:
        people_take_turns
        priority_goes_before_age_within_one_person
        a_turn_goes_only_to_a_worker_that_has_its_labels
        a_person_has_no_more_live_turns_than_allowed
        a_waiting_person_is_told_why
        a_person_fills_the_queue_no_further_than_it_may
        at_the_same_moment_it_fills_the_queue_no_further
        uploads_count_until_a_task_names_them;
    lifecycle:
        a_name_and_a_place_are_a_version
        a_retry_goes_on_from_what_is_left
        a_fresh_retry_has_neither_files_nor_history
        a_deleted_task_is_hidden_at_once
        words_that_came_too_late_do_not_wake_a_deleted_task
        a_long_log_goes_in_parts
        a_blob_goes_when_nothing_uses_it
        nobody_reads_the_blobs_of_a_deleted_task
        a_fork_starts_with_what_its_turn_ended_with
        what_is_no_point_of_a_log_is_not_forked_at
        one_key_at_the_same_time_has_one_effect
        what_is_copied_passes_through_the_redactor
        files_that_no_worker_keeps_are_not_forked_at;
    machines:
        a_follow_up_goes_where_its_files_are
        a_silent_machine_is_waited_for_so_long
        a_busy_machine_is_there_until_its_lease_ends
        a_machine_that_could_not_take_it_is_not_waited_for
        files_are_where_the_last_snapshot_was_made
        a_turn_that_is_taken_up_goes_back_to_its_files
        what_the_server_has_is_what_the_log_says
        a_fork_prefers_where_its_turn_was
        what_a_busy_worker_has_is_there
        a_question_goes_on_anywhere
        who_starts_from_nothing_goes_anywhere
        files_that_are_known_to_be_gone_are_no_ground
        people_take_turns_on_every_machine;
    talk:
        a_follow_up_waits_for_the_turns_before_it_and_goes_on_from_them
        the_queue_of_an_attempt_is_bounded_and_its_keys_are_kept
        follow_ups_at_the_same_time_get_their_own_numbers
        a_steer_is_said_until_the_log_shows_it
        a_steer_that_came_too_late_becomes_a_turn
        an_answer_ends_the_question_and_wakes_the_turn
        an_answer_that_meets_the_worker_on_its_way_is_not_lost
        a_question_that_nobody_answered_ends_with_its_turn;
    interleavings:
        no_order_of_steps_breaks_a_log
        many_at_once_break_no_log;
    durability:
        what_was_accepted_survives_a_kill;
    migrations:
        every_older_schema_is_taken_over;
    opening:
        what_was_accepted_is_there_after_a_restart
        many_may_open_a_new_database_at_once;
}
