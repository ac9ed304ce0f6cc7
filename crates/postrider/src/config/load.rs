//! Finding and reading the configuration: which file, which layers, in which order.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::file::{self, FILE_BYTES_MAX};
use super::layer::{Layer, merge};
use super::problem::{Problem, Problems};
use super::schema::Place;
use super::settings::{Machine, Settings};

/// What a start was told about its configuration; kept for reading it again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// `-o`, in order.
    pub(crate) overrides: Vec<String>,
}

/// Settings that were read, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) settings: Settings,
    /// The file, when there was one.
    pub(crate) file: Option<PathBuf>,
}

/// Files looked for when none was named.
const SEARCH: [&str; 2] = ["./postrider.toml", "/etc/postrider/postrider.toml"];

impl Sources {
    /// Reads everything anew: built-in defaults, preset, file, environment, command line.
    pub(crate) fn load(&self) -> Result<Loaded, Problems> {
        self.load_with(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    fn load_with(&self, environment: impl Iterator<Item = (String, String)>) -> Result<Loaded, Problems> {
        let environment: Vec<(String, String)> = environment.collect();
        let variable =
            |name: &str| environment.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        let named = self.file.clone().or_else(|| variable("POSTRIDER_CONFIG").map(PathBuf::from));
        let (file, file_layer) = read_file(named)?;
        let environment_layer = Layer::environment(environment.iter().cloned())?;
        let said = [file_layer, environment_layer, Layer::overrides(&self.overrides)?];
        let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let machine = Machine { state_directory: variable("STATE_DIRECTORY"), hostname };
        Ok(Loaded { settings: settings(said, &machine)?, file })
    }
}

/// What a file with this text alone brings into effect, as a file, on a machine that says nothing.
pub(crate) fn in_effect(path: &Path, text: &str) -> Result<String, Problems> {
    let settings = settings([file::parse(path, text)?], &Machine::default())?;
    Ok(super::print::effective(&settings))
}

/// The settings when this was said, over the defaults and the preset.
fn settings(said: impl Into<Vec<Layer>>, machine: &Machine) -> Result<Settings, Problems> {
    let said = said.into();
    let preset = Place::new("", "preset");
    let preset = said.iter().rev().find_map(|layer| layer.values.get(&preset));
    let preset = preset.map_or_else(String::new, |effective| effective.value.plain());
    let mut layers = vec![Layer::defaults(), Layer::preset(&preset)];
    layers.extend(said);
    Settings::build(merge(&layers), machine)
}

/// A named file must exist; the ones searched for need not.
fn read_file(named: Option<PathBuf>) -> Result<(Option<PathBuf>, Layer), Problems> {
    if let Some(path) = named {
        let layer = read_one(&path)?.ok_or_else(|| {
            Problem::new(
                path.display().to_string(),
                "there is no such file: check --config or POSTRIDER_CONFIG",
            )
        })?;
        return Ok((Some(path), layer));
    }
    for path in SEARCH.map(PathBuf::from) {
        if let Some(layer) = read_one(&path)? {
            return Ok((Some(path), layer));
        }
    }
    Ok((None, Layer::default()))
}

fn read_one(path: &Path) -> Result<Option<Layer>, Problems> {
    let place = path.display().to_string();
    let failed = |text: String| Problems::from(Problem::new(place.clone(), text));
    let size = match std::fs::metadata(path) {
        Ok(data) if data.is_dir() => {
            return Err(failed("this is a directory, a file is expected".to_owned()));
        }
        Ok(data) => data.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("cannot be read: {error}"))),
    };
    if size > FILE_BYTES_MAX {
        return Err(failed(format!("the file is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    file::parse(path, &text).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(sources: &Sources, environment: &[(&str, &str)]) -> Result<Loaded, Problems> {
        sources.load_with(environment.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    #[test]
    fn later_layers_win_and_each_value_knows_its_origin() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.toml");
        let text = "preset = \"postfix\"\n[qmgr]\nminimal_backoff_time = \"10s\"\nmaximal_backoff_time = 20\n\
                    [smtp]\nrecipient_limit = 5\n[transport.smtp]\nprocess_limit = 3\n";
        std::fs::write(&path, text).unwrap();
        let sources =
            Sources { file: Some(path.clone()), overrides: vec!["smtp.recipient_limit=7".to_owned()] };
        let environment = [
            ("POSTRIDER__SMTP__RECIPIENT_LIMIT", "6"),
            ("POSTRIDER__QMGR__MAXIMAL_BACKOFF_TIME", "30s"),
            ("POSTRIDER__TRANSPORT__SMTP__TLS", "none"),
        ];
        let loaded = load(&sources, &environment).unwrap();
        let shown = |place: &str| {
            let effective = loaded.settings.at(place).expect(place);
            (effective.value.plain(), effective.origin.replace(&path.display().to_string(), "FILE"))
        };
        let pair = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
        assert_eq!(shown("smtp.recipient_limit"), pair("7", "-o smtp.recipient_limit"));
        assert_eq!(
            shown("qmgr.maximal_backoff_time"),
            pair("30s", "environment POSTRIDER__QMGR__MAXIMAL_BACKOFF_TIME")
        );
        assert_eq!(shown("qmgr.minimal_backoff_time"), pair("10s", "FILE:3:1"));
        assert_eq!(shown("qmgr.queue_run_delay"), pair("300s", "preset postfix"));
        assert_eq!(shown("smtp.hostname"), pair("", "built-in default"));
        assert_eq!(shown("transport.smtp.process_limit"), pair("3", "FILE:8:1"));
        assert_eq!(shown("transport.smtp.kind"), pair("smtp", "built-in default"));
        assert_eq!(loaded.file.as_deref(), Some(path.as_path()));
        assert_eq!(loaded.settings.engine.global().queue_run_delay.as_secs(), 300);
    }

    #[test]
    fn the_preset_sets_exactly_what_the_engine_calls_so() {
        let sources = Sources { file: None, overrides: vec!["preset=postfix".to_owned()] };
        let loaded = load(&sources, &[]).unwrap();
        let ours = loaded.settings.engine;
        let theirs = qmgr::Config::new(qmgr::Preset::Postfix);
        assert_eq!(ours.global(), theirs.global());
        assert_eq!(ours.transport("smtp"), theirs.transport("smtp"));
    }

    #[test]
    fn a_named_file_must_exist_and_variables_must_be_known() {
        let sources = Sources { file: Some(PathBuf::from("/nonexistent/p.toml")), overrides: Vec::new() };
        assert!(load(&sources, &[]).unwrap_err().0[0].text.contains("no such file"));
        let problems = load(&Sources::default(), &[("POSTRIDER__SMTP__LISTN", "x")]).unwrap_err();
        let text = problems.0[0].to_string();
        let expected =
            "environment POSTRIDER__SMTP__LISTN: unknown key `listn` in [smtp]: did you mean `listen`?";
        assert_eq!(text, expected);
        let sources = Sources { file: None, overrides: vec!["smtp.listen".to_owned()] };
        assert!(load(&sources, &[]).unwrap_err().0[0].text.contains("section.key=value"));
    }
}
