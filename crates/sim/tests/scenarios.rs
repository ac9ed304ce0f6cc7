//! Runs every scenario of `testdata/scenarios` and compares it with what lies beside it: `.order` (the
//! selection order), `.trace` (every byte of the trace), `.expect` (facts; see `expectation`), or, in
//! `refused/`, `.error` (what a file that does not parse is told).
//!
//! `POSTRIDER_REFRESH=1 cargo test -p sim --test scenarios` rewrites `.order`, `.trace` and `.error` files
//! that exist; read the difference before committing it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

mod expectation;

use std::fs;
use std::path::{Path, PathBuf};

use sim::{Mode, Options};

fn scenarios(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let folder = root.join("testdata").join(folder);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    assert!(!paths.is_empty(), "no scenarios in {}", folder.display());
    paths
}

/// Name of the file without its folder, as it appears in every message.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Exit code, standard output and error of `postrider sim`.
fn output(path: &Path, mode: Mode) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = sim::command(path, mode, None, &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// Compares with a golden file when there is one, or rewrites it. Returns whether there was one.
fn golden(path: &Path, extension: &str, found: &str, faults: &mut Vec<String>) -> bool {
    let golden = path.with_extension(extension);
    let Ok(wanted) = fs::read_to_string(&golden) else { return false };
    if std::env::var_os("POSTRIDER_REFRESH").is_some() {
        fs::write(&golden, found).unwrap();
    } else if wanted != found {
        let place = wanted.lines().zip(found.lines()).position(|(a, b)| a != b);
        let line = place.unwrap_or_else(|| wanted.lines().count().min(found.lines().count()));
        let of = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
        faults.push(format!("{}:{}: wanted {} found {}", name(&golden), line + 1, of(&wanted), of(found)));
    }
    true
}

/// The trace and the selection order of another run, straight from the library.
fn second_run(path: &Path) -> (String, String) {
    let scenario = sim::parse(&name(path), &fs::read_to_string(path).unwrap()).unwrap();
    let trace = sim::run(&scenario, Options::default()).unwrap();
    let mut json = Vec::new();
    trace.write_json(&mut json).unwrap();
    (String::from_utf8(json).unwrap(), format!("{}\n", trace.order()))
}

fn faults_of(path: &Path) -> Vec<String> {
    let (code, trace, error) = output(path, Mode::Trace);
    if code != 0 {
        return vec![format!("exit code {code}: {}", error.trim_end())];
    }
    let mut faults = Vec::new();
    let (again, order) = second_run(path);
    if again != trace {
        faults.push("two runs differ".to_owned());
    }
    let mut judged = golden(path, "order", &order, &mut faults);
    judged |= golden(path, "trace", &trace, &mut faults);
    if let Ok(expectations) = fs::read_to_string(path.with_extension("expect")) {
        let events: Vec<_> = trace.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        faults.extend(expectation::unmet(&expectations, &events, order.trim_end()));
        judged = true;
    }
    if !judged {
        faults.push("nothing says what is expected: add a .expect, .order or .trace file".to_owned());
    }
    faults
}

#[test]
fn every_scenario_goes_as_expected() {
    let mut report = String::new();
    for path in scenarios("scenarios") {
        let faults = faults_of(&path);
        if !faults.is_empty() {
            let file = name(&path);
            report.push_str(&format!("\n{file}\n  {}\n", faults.join("\n  ")));
            report.push_str(&format!("  postrider sim testdata/scenarios/{file}\n"));
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn refusals_name_the_place_and_the_nearest_name() {
    let mut faults = Vec::new();
    for path in scenarios("scenarios/refused") {
        let (code, out, error) = output(&path, Mode::Trace);
        let shown = error.replace(&*path.to_string_lossy(), &name(&path));
        if (code, out.as_str()) != (2, "") {
            faults.push(format!("{}: exit code {code}, not 2", name(&path)));
        }
        if !golden(&path, "error", &shown, &mut faults) {
            faults.push(format!("{}: no .error file; it says {shown}", name(&path)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Damaged scenarios are refused, or are other scenarios; they never bring the reader down.
#[test]
fn no_text_makes_the_reader_panic() {
    let mut rng = mail::Rng::new(1);
    for path in scenarios("scenarios").iter().chain(&scenarios("scenarios/refused")) {
        let text = fs::read_to_string(path).unwrap();
        for _ in 0..20 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..=rng.below(3) {
                let place = rng.below(bytes.len() as u64) as usize;
                let donor = bytes[rng.below(bytes.len() as u64) as usize];
                match rng.below(3) {
                    0 => bytes[place] = donor,
                    1 => bytes.insert(place, donor),
                    _ => drop(bytes.drain(place..(place + 5).min(bytes.len()))),
                }
            }
            let _ = sim::parse("damaged", &String::from_utf8_lossy(&bytes));
        }
    }
}
