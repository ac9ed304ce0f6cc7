//! Transports that deliver on this machine: the keys that only they have.

use std::path::Path;

use delivery::{Preparation, Program};

use super::{Builder, Place, Settings, TRANSPORT, TransportKind, Value};

/// Keys of one kind of transport only.
const OF_ONE_KIND: [(&str, &str); 5] = [
    ("argv", "pipe"),
    ("user", "pipe"),
    ("directory", "pipe"),
    ("flags", "pipe"),
    ("maildir_create", "maildir"),
];

impl Builder<'_> {
    /// The program of a pipe. Its keys are refused on any other kind, where they would do nothing.
    pub(super) fn program(&mut self, section: &str, kind: &str) -> Option<Program> {
        for (key, of) in OF_ONE_KIND {
            if kind != of && self.differs_from_default(&Place::new(section, key)) {
                self.problem(section, key, format!("only a transport of kind = \"{of}\" has {key}"));
            }
        }
        if kind != "pipe" {
            return None;
        }
        let argv = self.words(section, "argv");
        if argv.is_empty() {
            self.problem(
                section,
                "kind",
                "kind = \"pipe\" needs argv = [\"/usr/bin/program\", \"${recipient}\"]",
            );
            return None;
        }
        let mut program = Program::parse(&argv).map_err(|error| self.problem(section, "argv", error)).ok()?;
        program.user = self.optional(section, "user");
        program.directory = self.text(section, "directory").into();
        if !Path::new(&program.directory).is_absolute() {
            self.problem(section, "directory", "a folder with its whole path is expected");
        }
        program.preparation = Preparation::parse(&self.text(section, "flags")).unwrap_or_else(|error| {
            self.problem(section, "flags", error);
            Preparation::default()
        });
        Some(program)
    }

    fn differs_from_default(&self, place: &Place) -> bool {
        let Some((effective, key)) = self.values.get(place).zip(place.key()) else { return false };
        let default = Value::of_text(key, key.default).expect("defaults are good values");
        effective.value.to_toml(key) != default.to_toml(key)
    }

    /// A field about one recipient can only be right in a copy for one.
    pub(super) fn check_programs(&mut self, settings: &Settings) {
        for (name, transport) in &settings.transports {
            let Some(program) = &transport.program else { continue };
            let limit = settings.engine.transport(name).destination_recipient_limit;
            if transport.kind == TransportKind::Pipe && program.preparation.names_recipient() && limit != 1 {
                let text = "flags D and O need destination_recipient_limit = 1";
                self.problem(&format!("{TRANSPORT}.{name}"), "flags", text);
            }
        }
    }
}
