//! Clients that ask for the mail of a site (RFC 1985), answered truthfully.
//!
//! Refuses: deciding. Which networks may ask is for ingress, which sites and how often for the engine's
//! flush service.

use flush::{Authority, Released, Request, Sites, Status};
use ingress::{EtrnAnswer, EtrnRequest};
use mail::Time;
use qmgr::Engine;
use tokio::sync::mpsc;
use tracing::info;

use super::engine_task::EngineHandle;

/// Requests that may wait; a client whose request finds no place is told to come back.
pub(crate) const REQUESTS_WAITING_MAX: usize = 64;

/// Answers requests until the listeners are gone.
pub(crate) async fn serve(engine: EngineHandle, mut requests: mpsc::Receiver<EtrnRequest>) {
    while let Some(EtrnRequest { site, subdomains, client, answer }) = requests.recv().await {
        let request = Request::SendSite(Sites { name: site.clone(), subdomains });
        let flush = move |engine: &mut Engine, now: Time| {
            let eligible = matches!(&request, Request::SendSite(sites) if engine.flush_eligible(&sites.name));
            (eligible, engine.flush(now, Authority::Client, request))
        };
        let words = match engine.ask(flush).await {
            Err(_) => EtrnAnswer::Unavailable,
            Ok((eligible, flushed)) => etrn_answer(eligible, flushed),
        };
        let at = if subdomains { "@" } else { "" };
        info!("ETRN {at}{site} from unknown[{client}]: {}", spelled(words));
        // The client may have left meanwhile; its site is flushed all the same.
        let _ = answer.send(words);
    }
}

fn spelled(answer: EtrnAnswer) -> String {
    match answer {
        EtrnAnswer::Started => "all queued mail is tried".to_owned(),
        EtrnAnswer::StartedCount(count) => format!("{count} messages are tried"),
        EtrnAnswer::NothingQueued => "no mail is waiting".to_owned(),
        EtrnAnswer::Denied => "not a site of fast_flush_domains".to_owned(),
        EtrnAnswer::Unavailable => "not possible now".to_owned(),
        EtrnAnswer::Bad => "not a site".to_owned(),
    }
}

/// Mail on hold does not count: it is not for clients to know about. Nor is how much mail there is for
/// everybody, which a site that is not eligible may have set going.
fn etrn_answer(eligible: bool, flushed: flush::Answer) -> EtrnAnswer {
    let Released { released, already_active, .. } = flushed.released;
    match (flushed.status, released.saturating_add(already_active)) {
        (Status::Ok, _) if !eligible => EtrnAnswer::Started,
        (Status::Ok, 0) => EtrnAnswer::NothingQueued,
        (Status::Ok, count) => EtrnAnswer::StartedCount(count),
        (Status::Deny, _) => EtrnAnswer::Denied,
        (Status::Bad, _) => EtrnAnswer::Bad,
        (Status::Fail, _) => EtrnAnswer::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flush::Answer;

    #[test]
    fn clients_hear_of_their_own_mail_that_is_tried_and_of_no_other() {
        let counts =
            |released, already_active, on_hold| Answer::ok(Released { released, already_active, on_hold });
        assert_eq!(etrn_answer(true, counts(2, 1, 5)), EtrnAnswer::StartedCount(3));
        assert_eq!(etrn_answer(true, counts(0, 0, 5)), EtrnAnswer::NothingQueued);
        assert_eq!(etrn_answer(false, counts(1_000, 0, 0)), EtrnAnswer::Started, "deliver-all");
        assert_eq!(etrn_answer(false, Answer::refused(Status::Deny)), EtrnAnswer::Denied);
        assert_eq!(etrn_answer(true, Answer::refused(Status::Fail)), EtrnAnswer::Unavailable);
    }
}
