//! What every store must do, whatever it is made of: one suite, run by each implementation.
//!
//! The suite knows only the ports. An implementation hands it a [`Place`] (somewhere new, that can be
//! opened again) and runs every case with `conformance!`: each case is a claim about the ports, and the claim is
//! its name. What is particular to one implementation (files, modes, pages) is tested beside it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a suite of tests: a failure is a panic")]

pub mod budgets;
pub mod calls;
pub mod connecting;
pub mod directory;
pub mod importing;
pub mod isolation;
pub mod keeping;
pub mod killing;
pub mod mailbox;
pub mod people;
pub mod presenting;
pub mod standing;
pub(crate) mod world;

use nightlatch_domain::ports::store::{
    BudgetStore, CallStore, ControlStore, DirectoryStore, KeeperStore, LedgerStore,
};
use std::sync::Arc;

/// One store as the planes see it.
#[derive(Clone)]
pub struct Planes {
    /// Control's part.
    pub control: Arc<dyn ControlStore>,
    /// The gateway's part.
    pub directory: Arc<dyn DirectoryStore>,
    /// The gateway's durable calls.
    pub calls: Arc<dyn CallStore>,
    /// The gateway's counts of what grants have spent.
    pub budgets: Arc<dyn BudgetStore>,
    /// The keeper's part.
    pub keeper: Arc<dyn KeeperStore>,
    /// The ledger's part.
    pub ledger: Arc<dyn LedgerStore>,
}

/// Somewhere a store lives: empty when the place is made, then whatever was written there.
pub trait Place: Send + Sync {
    /// Opens the store that lives here. The one opened before was dropped whole.
    fn open(&self) -> Planes;
}

/// Makes a test of every case. `$fresh` is the absolute path of a function that makes a new [`Place`](crate::conformance::Place),
/// or, after `where found`, one where what it needs is found.
#[macro_export]
macro_rules! conformance {
    (where found $fresh:path) => {
        $crate::conformance! { @all where_found $fresh }
    };
    ($fresh:path) => {
        $crate::conformance! { @all cases $fresh }
    };
    (@all $how:ident $fresh:path) => {
        $crate::conformance! { @$how $fresh;
            people {
                the_first_start_happens_once
                rows_come_back_as_they_were
                an_agents_name_is_unique_in_its_tenant
                a_task_that_ended_stays_ended
                a_task_is_as_it_was_written_last
                a_name_is_free_again_when_its_task_ended
                a_grant_that_was_taken_back_stays_so
                a_reference_is_unique_in_the_installation
                a_row_points_only_inside_its_tenant
                a_context_is_made_once
                a_newer_manifest_takes_the_place_of_the_older
                wakes_come_newest_first_and_end_once
                wakes_that_last_end_all_at_once_and_the_others_stay_as_they_were
                ended_wakes_are_forgotten_but_for_the_newest_and_the_young
                a_code_enrols_once_under_a_race
                a_code_enrols_only_in_time_and_whom_it_was_made_for
                a_binding_is_unique_in_the_installation
                a_ledger_head_never_goes_back
                the_installation_keeps_its_first_id
            }
            directory {
                the_feed_is_gapless_under_eight_writers
                a_snapshot_is_of_the_moment_of_its_number
                every_write_of_the_directory_is_in_the_feed
                a_refused_write_leaves_no_number
                a_waiter_is_woken_by_a_change
                a_waiter_is_not_kept_past_its_time
                ended_rows_are_in_the_directory_and_removed_connections_are_not
            }
            budgets {
                a_budget_comes_back_as_it_was_written
                no_more_is_reserved_than_is_left_and_never_twice
                of_many_reservations_at_once_no_more_is_given_than_there_is
                a_count_is_its_own_tenants
            }
            calls {
                of_many_calls_by_one_key_one_is_kept_and_the_others_are_shown_it
                a_key_belongs_to_its_task
                a_call_comes_back_as_it_was_written
                of_eight_marks_one_is_taken
                a_step_is_taken_from_the_step_before_it_alone
                a_final_answer_stays
                a_full_task_takes_no_further_call_and_others_are_not_full
                what_is_open_is_found_and_never_forgotten
                what_is_given_up_is_over
                the_end_of_a_call_is_told_from_its_end_until_that_is_settled
                every_tasks_first_message_comes_before_any_tasks_second
                what_is_still_to_be_told_is_not_forgotten
                a_call_is_nobody_elses
                a_call_is_its_own_gateways
                of_eight_keepers_one_acts_on_a_mandate
            }
            keeping {
                of_eight_claimers_one_wins
                a_claim_repeats_every_precondition
                a_holder_that_was_overtaken_writes_nothing
                an_intent_says_what_both_clocks_said
                an_intent_of_a_lost_claim_is_not_written
                the_fence_alone_and_the_owner_alone_do_not_suffice
                an_intent_needs_the_head_of_the_current_family
                no_second_intent_while_one_may_have_been_sent
                an_answer_is_kept_whoever_holds_the_claim
                an_answer_without_its_attempt_is_kept
                an_intent_and_a_commit_move_the_feeds_row
                an_era_is_raised_once_and_ends_older_claims
                the_head_moves_once_and_by_one
                an_answer_of_a_dead_holder_is_committed_by_the_next
                a_commit_after_the_removal_moves_nothing
                a_commit_and_a_removal_at_once_leave_no_credential
                a_reconnect_takes_the_chain_from_a_running_refresh
                a_commit_settles_tickets_and_failures
                a_settlement_asks_once_for_each_connection
                a_timer_is_hastened_and_never_delayed
                what_is_latched_is_never_due
                generations_go_only_when_consumed_and_dead
                what_a_crash_left_is_found
            }
            standing {
                a_keeper_is_registered_once
                a_quarantine_needs_no_claim_and_ends_one
                a_head_that_was_lost_is_healed_upwards
                nothing_is_claimed_before_every_log_was_compared
                an_era_that_is_raised_moves_the_feeds_row
                a_keeper_is_forgotten_as_it_was_seen
                a_quarantine_ends_for_its_own_reason_alone
                chains_are_listed_in_pages
            }
            presenting {
                a_retry_is_intended_once_and_only_over_a_lost_answer
                an_attempt_is_withdrawn_only_while_nothing_else_was_presented
                an_answer_that_came_is_not_settled_as_lost
                an_unused_answer_is_adopted_once
                what_is_held_is_not_due_and_what_lies_below_a_head_is_not_open
            }
            connecting {
                a_step_of_a_flow_is_taken_once_under_a_race
                a_flow_ends_once_with_what_it_makes
                a_flow_that_fails_keeps_its_answer
                a_failed_reconnects_answer_goes_with_its_connection
                a_flow_whose_connection_cannot_be_made_does_not_end
                a_state_is_unique
                an_account_has_one_chain
                a_reconnect_revives_the_chain
                a_later_consent_has_a_higher_number
                a_connection_that_moves_to_another_chain_retires_the_old_one
                a_chains_secrets_go_with_its_last_connection
                a_removed_connection_does_not_come_back
                a_late_answer_is_kept_after_the_removal
                the_newest_static_secret_counts
                a_connections_name_is_unique_among_the_living
                a_ticket_of_a_kind_is_open_once
                health_says_what_chain_and_tickets_say
            }
            importing {
                a_token_is_kept_once_and_in_one_tenant_only
                imports_come_when_their_time_has_come
                an_import_is_presented_once_and_retried_once
                imports_are_a_history_that_a_new_keeper_does_not_know
                an_import_of_an_earlier_era_is_not_presented
                an_import_ends_once_with_what_it_makes
                an_import_that_fails_keeps_its_secrets
                what_came_to_nothing_gives_way_to_another_registration
                what_may_have_been_presented_does_not_give_way
                a_killed_import_is_not_presented_and_makes_nothing
            }
            killing {
                a_kill_ends_its_scope_and_nothing_else
                a_killed_chain_gets_no_claim_no_intent_and_no_head
                what_is_connected_after_a_kill_lives
                kills_are_listed_in_the_order_of_the_feed
                no_kill_is_lost_under_sixteen_committers
                what_can_be_revoked_waits_for_that_and_the_rest_goes
                the_secrets_of_what_was_killed_are_taken_afterwards
                a_revocation_is_tried_until_it_is_confirmed
                what_may_still_be_lived_on_is_said
                what_another_tool_lives_on_may_be_the_same_account
                what_is_about_to_be_lived_on_is_said
                an_answer_that_comes_after_the_end_waits_to_be_revoked
                what_nobody_lives_on_is_not_due
            }
            isolation {
                a_read_with_another_tenants_id_finds_nothing
                a_write_with_another_tenants_id_changes_nothing
                a_reopened_store_holds_all_that_was_answered
            }
        }
    };
    (@cases $fresh:path; $($module:ident { $($case:ident)* })*) => {$(
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$module::$case(&$fresh()).await;
            })*
        }
    )*};
    (@where_found $fresh:path; $($module:ident { $($case:ident)* })*) => {$(
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(place) = $fresh() {
                    $crate::conformance::$module::$case(&place).await;
                }
            })*
        }
    )*};
}

/// The same for mailboxes. `$fresh` is the absolute path of a function that makes a new
/// [`MailPlace`](crate::conformance::mailbox::MailPlace).
#[macro_export]
macro_rules! mailbox_conformance {
    (where found $fresh:path) => {
        $crate::mailbox_conformance! { @all where_found $fresh }
    };
    ($fresh:path) => {
        $crate::mailbox_conformance! { @all cases $fresh }
    };
    (@all $how:ident $fresh:path) => {
        $crate::conformance! { @$how $fresh;
            mailbox {
                a_letter_comes_as_it_was_posted_and_once
                of_eight_takers_one_gets_each_letter
                a_letter_is_taken_out_or_taken_back
                a_number_lies_there_once
                a_full_box_takes_no_further_letter
                what_is_too_long_is_not_kept
                who_is_not_there_gets_no_letter
                who_is_there_is_seen_by_all
                what_expired_is_thrown_away
                a_waiter_is_woken_by_a_letter_for_it
            }
        }
    };
}
