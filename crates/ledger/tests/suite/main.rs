//! One suite for all databases: what the ledger promises, on SQLite, MariaDB and PostgreSQL.

mod alerts;
mod backup;
mod bed;
mod bonds;
mod credentials;
mod damage;
mod deliveries;
mod fairness;
mod looks;
mod recipients;
mod reconciling;
mod recorder;
mod recording;
mod recovery;
mod remains;
mod sweeping;
mod users;

use std::time::Duration;

use bed::Bed;

/// No test takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_mins(2);

/// Each test, once for each database.
macro_rules! on_every_database {
    ($($module:ident: $($test:ident)+;)+) => {
        on_every_database!(@ sqlite { $($module: $($test)+;)+ });
        on_every_database!(@ mariadb { $($module: $($test)+;)+ });
        on_every_database!(@ postgres { $($module: $($test)+;)+ });
    };
    (@ $database:ident { $($module:ident: $($test:ident)+;)+ }) => {
        mod $database {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let bed = super::Bed::$database().await;
                    let test = super::$module::$test(bed);
                    tokio::time::timeout(super::PATIENCE, test).await.expect("an end in time");
                }
            )+)+
        }
    };
}

on_every_database! {
    alerts: administrators_are_told_once_of_trouble all_administrators_are_told_of_one_event
        a_job_that_is_replayed_has_not_waited_since_it_was_accepted
        what_a_webhook_that_is_gone_was_owed_is_no_trouble;
    backup: a_backup_is_of_one_moment a_ledger_that_is_not_empty_takes_none
        two_who_restore_at_once_make_one_ledger a_restored_ledger_is_held_back
        one_that_never_had_a_store_is_held_back;
    recovery: what_the_store_has_comes_back what_has_no_place_is_left
        a_recovery_can_be_done_again cards_go_with_their_jobs;
    remains: outputs_beside_their_uploads_count_for_nothing what_has_a_card_was_not_deleted
        a_store_that_may_not_be_whole_takes_no_jobs_along
        a_backup_can_be_restored_again;
    bonds: a_store_has_one_ledger a_store_that_is_anothers_by_now_is_left_alone
        a_ledger_has_one_store;
    credentials: log_ins_are_renewed_and_end no_log_in_outlives_its_password
        reuse_ends_the_family who_logs_out_meets_every_refresh a_made_up_token_waits_for_no_writer
        api_keys_do_until_revoked api_keys_have_a_number_and_an_end signing_keys_follow_each_other;
    damage: a_job_that_cannot_be_sent_fails_and_stops_no_other
        what_cannot_be_read_is_listed_watched_and_reconciled
        what_cannot_be_read_keeps_nothing_else_from_going;
    recipients: one_user_takes_nobody_elses_place one_reader_takes_nobody_elses_mails
        a_410_that_is_late_ends_nothing a_410_from_where_it_was_ends_nothing
        who_is_disabled_is_told_nothing
        samples_are_what_is_owed nobody_reads_secrets_in_a_log;
    deliveries: webhooks_are_owed_once a_job_has_a_webhook_of_its_own
        mails_are_owed_to_who_wants_them a_delivery_is_claimed_by_one
        what_is_said_too_late_changes_nothing one_webhook_takes_nobody_elses_place
        webhooks_change_and_end answers_are_written_down_whatever_they_are a_disabled_webhook_says_why
        a_delivery_that_makes_no_sense_stops_no_other secrets_are_the_same_for_all;
    fairness: who_has_much_waits_for_nobody_and_nobody_for_him replicas_take_each_job_once
        quotas_hold quotas_hold_for_replays requests_are_known_again;
    looks: who_looks_changes_nothing the_condition_says_what_the_tables_lack;
    recording: a_job_lives everything_may_come_twice late_events_change_nothing
        an_attempt_that_failed_leaves_its_history transitions_meet_states
        pages_and_filters;
    reconciling: what_the_queue_forgot_is_queued_again an_empty_queue_is_filled
        what_is_on_its_way_is_left_alone a_steady_stream_of_events_hides_no_loss one_leads;
    recorder: a_store_that_is_away_holds_up_no_event uploads_that_nobody_needs_go
        an_event_that_is_refused_stops_no_other;
    sweeping: what_is_old_goes_with_its_objects orphans_go_and_named_objects_stay
        outputs_of_unfinished_jobs_stay what_is_named_meanwhile_stays
        what_comes_late_to_an_address_goes_and_inputs_stay
        what_cannot_go_stops_nothing_else sweeping_ends_when_it_is_told;
    users: users_come_and_change;
}
