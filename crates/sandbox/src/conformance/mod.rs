//! The contract of [`Backend`](crate::Backend) and [`Sandbox`](crate::Sandbox), sentence by sentence, for every backend.
//!
//! A backend's tests run every case of [`CASES`]; a case makes its own sandboxes, whose names begin with the case's, so
//! that all can run at the same time. Cases use `sh`, bash for sockets, and the usual small programs and nothing else of the image.

mod commands;
mod files;
mod layers;
mod limits;
mod merge;
mod neighbours;
mod outlet;
pub mod walls;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::Backend;

/// What a case found: nothing, or which sentence does not hold.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A running case.
pub type Run = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One sentence of the contract.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it says, as an identifier.
    pub name: &'static str,
    /// Tries it.
    pub run: fn(Arc<dyn Backend>) -> Run,
}

/// Names functions once, as cases.
macro_rules! cases {
    ($($module:ident :: { $($name:ident),+ $(,)? }),+ $(,)?) => {
        /// All of the contract.
        pub const CASES: &[Case] = &[
            $($(Case { name: stringify!($name), run: |backend| Box::pin($module::$name(backend)) }),+),+
        ];
    };
}

cases! {
    commands::{
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
    },
    files::{
        a_file_comes_back_as_it_was_written,
        a_large_file_comes_back_as_it_was_written,
        a_mode_is_kept_or_set,
        links_are_not_followed,
        only_regular_files_are_read,
        a_limit_on_a_read_holds,
        a_file_is_removed_and_a_directory_is_not,
        binds_are_shown_read_only,
        a_workspace_can_be_read_only,
    },
    layers::{
        a_snapshot_is_what_was_there,
        deletions_are_part_of_a_layer,
        forks_do_not_see_each_other,
        nothing_works_after_the_end,
        a_running_command_is_lost_with_its_sandbox,
        a_layer_can_be_discarded,
        what_a_lost_sandbox_left_is_salvaged_once,
        names_are_checked_and_unique,
        a_foreign_layer_is_refused,
    },
    limits::{
        memory_is_limited,
        processes_are_limited,
        open_files_are_limited,
        the_writable_layer_is_limited,
        what_is_deleted_but_open_counts,
        what_lies_deep_counts,
        files_without_content_count,
        the_temporary_directory_is_limited,
        life_is_limited,
    },
    merge::{
        merged_layers_show_what_they_showed,
        whatever_was_changed_merging_loses_nothing,
        what_cannot_be_merged_is_refused_and_leaves_nothing,
    },
    neighbours::{
        the_hosts_sockets_are_out_of_reach,
        the_hosts_files_are_not_there,
        two_sandboxes_share_nothing,
        a_storm_of_orphans_keeps_nobody_from_work,
    },
    outlet::{
        what_comes_out_says_which_door_and_who,
        a_program_is_known_by_its_command,
        names_are_asked_of_the_outlet,
        the_doors_cannot_be_taken_from_inside,
        the_outlet_ends_with_its_sandbox,
        closed_doors_are_no_doors,
    },
}
