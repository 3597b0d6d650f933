//! One suite, every door: what is proved of the `route` door is proved of the `proxy` door by the same tests,
//! through tunnels of both kinds and, where a tool speaks plain HTTP, in absolute form.

use crate::door::Door;

/// Runs each claim behind one door.
macro_rules! through {
    ($door:ident, $kind:ident, $($module:ident::$claim:ident,)*) => {
        mod $door {
            $(#[test]
            fn $claim() {
                super::Door::during(super::Door::$kind, crate::$module::$claim);
            })*
        }
    };
}

/// What holds whatever the tool speaks.
macro_rules! claims {
    ($door:ident, $kind:ident $(, $more:ident::$also:ident)* $(,)?) => {
        through! {
            $door, $kind,
            passing::each_placement_is_rendered_as_the_seal_says,
            passing::the_reference_is_taken_in_each_place_that_the_host_accepts,
            passing::every_call_has_one_intent_and_one_outcome,
            passing::an_event_reaches_its_reader_before_the_next_one_is_written,
            passing::large_bodies_pass_whole_in_both_directions,
            passing::expect_is_answered_after_the_decision_and_goes_no_further,
            answers::an_echoed_secret_is_masked_by_its_own_length,
            answers::a_secret_that_comes_in_pieces_is_masked,
            answers::the_rendered_form_is_masked_too,
            answers::a_coding_that_is_not_read_is_refused_without_a_byte_of_it,
            answers::what_leads_past_us_or_belongs_to_one_hop_does_not_come_back,
            answers::only_harmless_cookies_come_back,
            answers::a_tools_own_401_passes_and_the_keeper_hears_of_it,
            answers::interim_answers_do_not_pass,
            answers::a_body_that_breaks_off_does_not_look_whole,
            answers::a_body_that_stands_still_is_cut,
            answers::a_head_tells_the_length_of_what_a_get_would_bring,
            answers::what_has_no_body_brings_none_and_leaves_none_for_the_next_answer,
            carriers::a_second_credential_is_refused_in_any_carrier_by_the_name_of_its_field,
            carriers::a_twin_header_is_no_place_for_the_reference_either,
            carriers::two_references_in_one_basic_pair_are_refused,
            carriers::connection_cannot_name_the_credential_away,
            carriers::fields_of_this_hop_go_no_further,
            carriers::another_method_or_path_in_a_field_is_refused,
            carriers::upgrades_trailers_and_grpc_are_not_carried,
            carriers::trailers_that_nobody_announced_break_the_call,
            framing::every_case_of_the_corpus_is_judged_as_it_says,
            framing::a_fault_behind_a_sound_request_is_answered_after_it_and_closes,
            framing::requests_that_come_byte_by_byte_are_the_same_requests,
            framing::nobody_is_invited_to_send_the_body_of_a_refused_request,
            framing::a_head_that_is_too_long_or_has_too_many_fields_is_refused,
            carriers::what_follows_a_refused_body_is_no_request,
            carried::an_answer_that_is_coded_for_its_transfer_is_refused_whole,
            carried::a_new_secret_does_not_come_into_being_whatever_was_granted,
            carried::what_shows_no_secret_is_allowed_by_its_id_and_its_answer_is_held_to_that,
            reflection::location_cookies_other_fields_and_error_bodies_are_masked,
            reflection::a_compressed_echo_is_read_masked_and_handed_on_as_it_is,
            carried::a_second_credential_in_the_query_is_seen_however_it_is_split_and_spelled,
            carried::another_host_or_path_in_a_field_is_refused,
            carried::a_cookie_inside_a_kept_cookie_is_refused,
            carried::a_cookie_of_the_older_kind_does_not_reach_the_agent,
            misuse::the_alarm_is_written_after_the_refusal_that_it_belongs_to,
            misuse::a_flood_of_junk_hides_no_misuse,
            misuse::who_does_not_stay_for_the_answer_alarms_all_the_same,
            identity::a_foreign_and_an_unknown_reference_are_one_answer,
            identity::a_reference_of_another_task_is_unknown,
            identity::a_completed_task_is_told_so_and_reaches_nothing,
            identity::a_revoked_or_expired_grant_is_told_so,
            identity::a_disabled_agent_does_nothing,
            identity::no_reference_is_answered_with_the_challenge_of_the_host,
            identity::policy_has_the_last_word,
            destination::a_redirect_is_handed_back_and_never_followed,
            destination::the_seal_and_not_the_directory_says_where,
            destination::a_path_trick_does_not_pass_policy,
            destination::what_is_sent_is_what_was_decided_on,
            ending::what_ends_a_task_cuts_its_streams_and_nobody_elses,
            ending::a_removed_connection_cuts_every_stream_on_it,
            ending::sleep_ends_the_wake_and_the_next_one_begins_with_a_handshake,
            ending::an_agent_has_its_share_of_calls_and_the_others_theirs,
            confirming::what_ends_while_a_call_waits_for_its_lease_ends_the_call,
            confirming::what_ends_while_the_intent_is_being_written_ends_the_call,
            confirming::a_change_of_something_else_ends_no_call,
            standing::an_answer_that_nobody_reads_is_cut,
            events::an_echoed_secret_in_an_event_is_masked_over_chunks_and_no_event_waits_for_the_next,
            websocket::messages_pass_both_ways_with_the_exact_credential,
            websocket::an_unsound_handshake_is_refused_by_its_field,
            websocket::one_that_no_manifest_lists_is_not_supported,
            websocket::no_byte_goes_to_the_tool_before_its_101,
            websocket::an_answer_that_is_no_switch_is_shown_and_what_came_early_is_no_request,
            websocket::an_echoed_secret_is_masked_over_frames_and_fragments,
            websocket::what_ends_a_task_cuts_its_websocket_and_nobody_elses,
            websocket::a_page_of_another_site_is_refused,
            $($more::$also,)*
        }
    };
}

claims!(
    tunnel,
    Tunnel,
    passing::a_call_leaves_with_the_exact_credential_and_nothing_of_the_reference,
    destination::two_hosts_are_refused_even_when_they_are_equal,
    destination::a_tool_with_another_names_certificate_gets_nothing,
    standing::what_ends_a_grant_or_a_wake_cuts_an_answer_that_nobody_reads,
);
claims!(
    stream,
    Stream,
    passing::a_call_leaves_with_the_exact_credential_and_nothing_of_the_reference,
    destination::two_hosts_are_refused_even_when_they_are_equal,
    destination::a_tool_with_another_names_certificate_gets_nothing,
    standing::what_ends_a_grant_or_a_wake_cuts_an_answer_that_nobody_reads,
);
claims!(absolute, Absolute);
// The same bytes as in absolute form, over another way in: what that way could change.
through! {
    absolute_in_stream, AbsoluteInStream,
    passing::each_placement_is_rendered_as_the_seal_says,
    passing::every_call_has_one_intent_and_one_outcome,
    passing::an_event_reaches_its_reader_before_the_next_one_is_written,
    passing::large_bodies_pass_whole_in_both_directions,
    answers::a_secret_that_comes_in_pieces_is_masked,
    answers::a_body_that_breaks_off_does_not_look_whole,
    carriers::a_second_credential_is_refused_in_any_carrier_by_the_name_of_its_field,
    framing::every_case_of_the_corpus_is_judged_as_it_says,
    framing::a_fault_behind_a_sound_request_is_answered_after_it_and_closes,
    identity::a_foreign_and_an_unknown_reference_are_one_answer,
    identity::no_reference_is_answered_with_the_challenge_of_the_host,
    ending::what_ends_a_task_cuts_its_streams_and_nobody_elses,
    ending::sleep_ends_the_wake_and_the_next_one_begins_with_a_handshake,
}
