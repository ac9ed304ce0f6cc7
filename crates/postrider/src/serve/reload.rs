//! A changed configuration, put into force in a running engine.
//!
//! Promises: all of it or nothing; a file that is not good leaves the old one in force and says why; what
//! changed is said, and what only the next start can take.

use std::sync::Arc;

use arc_swap::ArcSwap;
use delivery::Agents;
use ingress::{Hold, Ingress, SessionErrors};
use tokio::sync::mpsc;
use tracing::{error, info};

use super::certificates;
use super::deliveries::Transports;
use super::engine_task::EngineHandle;
use super::logging;
use super::reports::ReportSettings;
use super::routes::{self, Routes};
use super::session_errors;
use crate::config::{self, FrontEnd, Problems, Settings, Sources};

/// Everything that takes new settings.
pub(crate) struct Reload {
    pub(crate) sources: Sources,
    pub(crate) settings: Settings,
    pub(crate) engine: EngineHandle,
    pub(crate) routes: Arc<Routes>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) transports: Arc<ArcSwap<Transports>>,
    pub(crate) reports: Arc<ArcSwap<ReportSettings>>,
    /// Where sessions that went wrong are told.
    pub(crate) errors: mpsc::Sender<SessionErrors>,
}

/// A new configuration with all files that it names read.
struct Prepared {
    settings: Settings,
    front_ends: [ingress::Config; 2],
    routing: routes::Prepared,
    reports: ReportSettings,
}

impl Reload {
    /// Reads the configuration anew and puts it into force.
    pub(crate) async fn reload(&mut self, smtp: &Ingress, lmtp: &Ingress) {
        let Prepared { settings, front_ends, routing, reports } = match self.read() {
            Ok(read) => read,
            Err(problem) => {
                error!("configuration not reloaded, the old one stays in force: {problem}");
                return;
            }
        };
        let changes = config::diff(&self.settings, &settings);
        let [smtp_config, lmtp_config] = front_ends;
        smtp.reload(smtp_config);
        lmtp.reload(lmtp_config);
        self.routes.replace(routing);
        self.agents.set_hostname(&settings.smtp.config.hostname);
        self.transports.store(Arc::new(transports(&settings)));
        self.reports.store(Arc::new(reports));
        logging::set_level(&settings.log.level);
        let engine = settings.engine.clone();
        if self.engine.ask(move |running, now| running.reconfigure(now, engine)).await.is_err() {
            return;
        }
        self.settings = settings;
        if changes.is_empty() {
            info!("configuration reloaded: nothing has changed");
        }
        changes.iter().for_each(|change| info!("configuration reloaded: {change}"));
    }

    fn read(&self) -> Result<Prepared, String> {
        let settings = self.sources.load().map_err(|problems| one_line(&problems))?.settings;
        let front_ends =
            front_ends(&settings, &self.routes, &self.errors).map_err(|problems| one_line(&problems))?;
        let routing = Routes::prepare(&settings).map_err(|problems| one_line(&problems))?;
        let reports = ReportSettings::read(&settings).map_err(|problem| problem.to_string())?;
        Ok(Prepared { settings, front_ends, routing, reports })
    }
}

/// Every problem, for the log.
pub(crate) fn one_line(problems: &Problems) -> String {
    problems.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The configurations of the SMTP and the LMTP front-end with their certificates read. The rules that hold
/// mail are those in force when the mail comes.
pub(crate) fn front_ends(
    settings: &Settings,
    routes: &Arc<Routes>,
    errors: &mpsc::Sender<SessionErrors>,
) -> Result<[ingress::Config; 2], Problems> {
    let [smtp, lmtp] = certificates::server_configs(settings)?;
    let config = |front_end: &FrontEnd, tls| {
        let errors = session_errors::wanted(settings.bounce.notify_classes, errors);
        let mut config = ingress::Config { tls, errors, ..front_end.config.clone() };
        let routes = routes.clone();
        config.policy.hold = Hold::when(move |envelope| routes.hold(envelope));
        config
    };
    Ok([config(&settings.smtp, smtp), config(&settings.lmtp, lmtp)])
}

/// The transports by name.
pub(crate) fn transports(settings: &Settings) -> Transports {
    settings
        .transports
        .iter()
        .map(|(name, transport)| (Arc::from(name.as_str()), Arc::new(transport.clone())))
        .collect()
}
