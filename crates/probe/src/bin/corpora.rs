//! `corpora unpack FOLDER` and `corpora pack FOLDER`: between the corpora of this source and the folders that
//! libFuzzer works with, one for each target below FOLDER.
//!
//! Promises: what is packed replaces the corpus of each target that has a folder. Refuses: choosing inputs;
//! `cargo fuzz cmin`, or `-merge=1`, does that before.

use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

use probe::{TARGETS, corpus, corpus_file};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words.as_slice() {
        ["unpack", folder] => TARGETS.iter().try_for_each(|(name, _)| unpack(name, Path::new(folder))),
        ["pack", folder] => TARGETS.iter().try_for_each(|(name, _)| pack(name, Path::new(folder))),
        _ => Err(io::Error::other("corpora unpack FOLDER | corpora pack FOLDER")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn unpack(target: &str, folder: &Path) -> io::Result<()> {
    let folder = folder.join(target);
    fs::create_dir_all(&folder)?;
    let text = fs::read_to_string(corpus_file(target))?;
    let wrong = |line: usize| io::Error::other(format!("line {line} of the corpus of {target}"));
    let inputs = corpus::parse(&text).map_err(wrong)?;
    for (number, input) in inputs.iter().enumerate() {
        fs::write(folder.join(format!("{number:04}")), input)?;
    }
    Ok(())
}

fn pack(target: &str, folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder.join(target)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let inputs = entries.map(|entry| fs::read(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    println!("{target}: {} inputs", inputs.len());
    fs::write(corpus_file(target), corpus::print(inputs))
}
