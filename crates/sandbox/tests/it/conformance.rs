use std::sync::Arc;

use legwork_sandbox::conformance::CASES;

use crate::world::World;

macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let case = CASES.iter().find(|case| case.name == stringify!($name)).unwrap();
                let world = World::new();
                (case.run)(Arc::clone(&world.backend)).await.unwrap();
            }
        )+
    };
}

contract! {
    output_comes_as_it_is_written,
    outputs_are_told_apart,
    an_exit_has_a_code_or_a_signal,
    the_head_and_the_tail_of_a_flood_are_kept,
    a_slow_reader_slows_the_command,
    time_outs_end_the_whole_group,
    a_command_that_ignores_its_end_is_killed,
    dropping_a_process_kills_its_group,
    signals_reach_the_whole_group,
    input_is_empty_unless_asked_for,
    large_input_arrives_whole,
    a_terminal_is_a_terminal,
    what_runs_in_the_background_goes_on,
    the_environment_is_only_what_was_given,
    what_cannot_start_says_why,
    many_commands_run_at_the_same_time,
    orphans_are_collected,
    a_file_comes_back_as_it_was_written,
    a_large_file_comes_back_as_it_was_written,
    a_mode_is_kept_or_set,
    links_are_not_followed,
    only_regular_files_are_read,
    a_limit_on_a_read_holds,
    a_file_is_removed_and_a_directory_is_not,
    binds_are_shown_read_only,
    a_workspace_can_be_read_only,
    a_snapshot_is_what_was_there,
    deletions_are_part_of_a_layer,
    forks_do_not_see_each_other,
    nothing_works_after_the_end,
    a_running_command_is_lost_with_its_sandbox,
    a_layer_can_be_discarded,
    what_a_lost_sandbox_left_is_salvaged_once,
    names_are_checked_and_unique,
    a_foreign_layer_is_refused,
    memory_is_limited,
    processes_are_limited,
    open_files_are_limited,
    the_writable_layer_is_limited,
    what_is_deleted_but_open_counts,
    what_lies_deep_counts,
    files_without_content_count,
    the_temporary_directory_is_limited,
    life_is_limited,
    merged_layers_show_what_they_showed,
    whatever_was_changed_merging_loses_nothing,
    what_cannot_be_merged_is_refused_and_leaves_nothing,
    the_hosts_sockets_are_out_of_reach,
    the_hosts_files_are_not_there,
    two_sandboxes_share_nothing,
    a_storm_of_orphans_keeps_nobody_from_work,
    what_comes_out_says_which_door_and_who,
    a_program_is_known_by_its_command,
    names_are_asked_of_the_outlet,
    the_doors_cannot_be_taken_from_inside,
    the_outlet_ends_with_its_sandbox,
    closed_doors_are_no_doors,
}

#[test]
fn every_case_of_the_contract_runs() {
    let cases: Vec<_> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(NAMES, cases);
}
