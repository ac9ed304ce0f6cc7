//! Parameters of Postfix that cannot apply here, and what takes their place.

use super::schema::keys;

/// What to say about a parameter of Postfix that has no counterpart under its name.
pub(crate) fn advice(name: &str) -> Option<String> {
    if let Some((_, advice)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Some(format!("{name} does not apply to this program: {advice}"));
    }
    of_one_transport(name)
}

/// `smtp_destination_concurrency_limit` belongs into `[transport.smtp]` without the prefix. The longest
/// parameter counts: `smtp_destination_recipient_limit` is no `recipient_limit`.
fn of_one_transport(name: &str) -> Option<String> {
    if keys().iter().any(|key| key.name == name) {
        return None;
    }
    let parameters = qmgr::parameters().iter().filter(|p| p.section == qmgr::Section::Transport);
    let of_transport = parameters.filter_map(|parameter| {
        let transport = name.strip_suffix(parameter.short_name)?.strip_suffix('_')?;
        let named = !transport.is_empty() && transport != "default";
        named.then_some((transport, parameter.short_name))
    });
    let (transport, parameter) = of_transport.max_by_key(|(_, parameter)| parameter.len())?;
    // The manual pages write "transport" where a name has to stand.
    let transport = if transport == "transport" { "NAME" } else { transport };
    Some(format!("write `{parameter}` into [transport.{transport}] instead"))
}

const REFUSED: &[(&str, &str)] = &[
    ("queue_directory", "set spool.directory"),
    ("data_directory", "set spool.directory; everything that is kept is there"),
    ("hash_queue_names", "the spool is a log and has no directories to hash"),
    ("hash_queue_depth", "the spool is a log and has no directories to hash"),
    ("enable_long_queue_ids", "queue ids are always long, sortable and never reused"),
    (
        "in_flow_delay",
        "acceptance waits for the engine by itself; bound memory with qmgr_message_active_limit",
    ),
    ("daemon_directory", "there are no daemon programs; everything is one process"),
    ("command_directory", "there is one program; link mailq, postqueue and the others to it"),
    ("process_name", "there is one process"),
    ("qmgr_daemon_timeout", "every wait has a deadline of its own; see [transport.NAME] timeouts"),
    ("qmgr_ipc_timeout", "there is no inter-process communication"),
    ("daemon_timeout", "every wait has a deadline of its own; see [transport.NAME] timeouts"),
    ("ipc_timeout", "there is no inter-process communication"),
    ("ipc_idle", "there is no inter-process communication"),
    ("ipc_ttl", "there is no inter-process communication"),
    ("trigger_timeout", "triggers are taken at once; see control.socket"),
    ("max_use", "agents are tasks and are not restarted"),
    ("max_idle", "agents are tasks and are not restarted"),
    ("mail_owner", "run the program as the user you want, for example by User= in the unit file"),
    ("setgid_group", "access is by the mode of control.socket; see control.mode"),
    ("authorized_flush_users", "access is by the mode of control.socket; see control.mode"),
    ("authorized_mailq_users", "access is by the mode of control.socket; see control.mode"),
    ("smtpd_etrn_restrictions", "set smtp.etrn_from"),
    ("mynetworks", "set smtp.relay_from"),
    ("mydestination", "set route.local_domains"),
    ("myhostname", "set smtp.hostname"),
    ("inet_interfaces", "set smtp.listen"),
    ("smtpd_recipient_limit", "set smtp.recipient_limit"),
    ("smtpd_timeout", "set smtp.command_timeout"),
    ("smtpd_hard_error_limit", "set smtp.error_limit"),
    ("smtpd_client_connection_count_limit", "set smtp.client_connection_limit"),
    ("transport_maps", "set route.map"),
    ("default_transport", "set route.default_transport"),
    ("local_transport", "set route.local_transport"),
    ("address_verify_pending_request_limit", "addresses are not verified by probes"),
    ("syslog_facility", "logs go to standard error; see [log]"),
    ("syslog_name", "logs go to standard error; see [log]"),
    ("maillog_file", "logs go to standard error; redirect them or let the service manager keep them"),
    ("relocated_maps", "set route.map with an error: row"),
    ("virtual_alias_maps", "addresses are not rewritten; do it in the front-end that feeds this queue"),
    ("alias_maps", "addresses are not rewritten; do it in the front-end that feeds this queue"),
    ("config_directory", "name the file with --config or POSTRIDER_CONFIG"),
    (
        "allow_min_user",
        "addresses are never words of a command line; pipe transports pass them on as they are",
    ),
    ("helpful_warnings", "a wrong setting is an error with file and line; see `postrider config check`"),
    ("process_id", "there is one process, and it is in every line of the log"),
    ("process_id_directory", "the spool is locked by the process that uses it"),
    ("service_name", "there is one process"),
    ("import_environment", "settings come from POSTRIDER__SECTION__KEY; nothing else is read"),
    ("export_environment", "agents are tasks of the same process"),
    (
        "duplicate_filter_limit",
        "recipients repeated in one transaction are dropped; how many are remembered is fixed",
    ),
    ("delay_logging_resolution_limit", "delays are logged with two significant digits"),
    ("queue_minfree", "set spool.free_min"),
    ("queue_file_attribute_count_limit", "the envelope has a size limit of its own"),
    ("compatibility_level", "there is one code path; set preset to \"postfix\" for its timing"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::Place;

    #[test]
    fn no_refused_name_exists_and_every_named_key_does() {
        for (name, advice) in REFUSED {
            let elsewhere = ["default_transport", "local_transport"];
            assert!(elsewhere.contains(name) || keys().iter().all(|key| key.name != *name), "{name} exists");
            for word in advice.split([' ', ';', ',']).filter(|word| word.contains('.')) {
                let place = Place::parse(word);
                let known = place.key().is_some() || word.contains("transport.NAME");
                assert!(known || !place.section.chars().all(char::is_lowercase), "{name}: {word}");
            }
        }
    }

    #[test]
    fn prefixed_parameters_are_sent_to_their_transport() {
        let text = advice("smtp_destination_concurrency_limit").unwrap();
        assert_eq!(text, "write `destination_concurrency_limit` into [transport.smtp] instead");
        let text = advice("smtp_destination_recipient_limit").unwrap();
        assert_eq!(text, "write `destination_recipient_limit` into [transport.smtp] instead");
        let text = advice("transport_delivery_slot_loan").unwrap();
        assert_eq!(text, "write `delivery_slot_loan` into [transport.NAME] instead");
        for name in ["nonsense", "qmgr_message_recipient_limit", "default_extra_recipient_limit"] {
            assert_eq!(advice(name), None, "{name}");
        }
    }

    /// What qmgr(8) and flush(8) list under CONFIGURATION PARAMETERS, in their order.
    const OF_THE_MANUAL_PAGES: &[&str] = &[
        "allow_min_user",
        "qmgr_clog_warn_time",
        "qmgr_message_active_limit",
        "qmgr_message_recipient_limit",
        "qmgr_message_recipient_minimum",
        "default_recipient_limit",
        "transport_recipient_limit",
        "default_extra_recipient_limit",
        "transport_extra_recipient_limit",
        "initial_destination_concurrency",
        "default_destination_concurrency_limit",
        "transport_destination_concurrency_limit",
        "default_destination_recipient_limit",
        "transport_destination_recipient_limit",
        "default_delivery_slot_cost",
        "transport_delivery_slot_cost",
        "default_minimum_delivery_slots",
        "transport_minimum_delivery_slots",
        "default_delivery_slot_discount",
        "transport_delivery_slot_discount",
        "default_delivery_slot_loan",
        "transport_delivery_slot_loan",
        "minimal_backoff_time",
        "maximal_backoff_time",
        "maximal_queue_lifetime",
        "queue_run_delay",
        "transport_retry_time",
        "bounce_queue_lifetime",
        "config_directory",
        "daemon_timeout",
        "defer_transports",
        "helpful_warnings",
        "ipc_timeout",
        "process_id",
        "process_name",
        "queue_directory",
        "syslog_facility",
        "syslog_name",
        "fast_flush_domains",
        "fast_flush_refresh_time",
        "fast_flush_purge_time",
        "max_idle",
        "max_use",
        "parent_domain_matches_subdomains",
        "service_name",
    ];

    #[test]
    fn every_parameter_of_the_manual_pages_is_a_key_or_refused_with_advice() {
        for name in OF_THE_MANUAL_PAGES {
            let exists = keys().iter().any(|key| key.name == *name);
            assert!(exists != advice(name).is_some(), "{name}: a key: {exists}, advice: {:?}", advice(name));
        }
    }
}
