//! A corpus as one file: each input on a line of its own, in quotes and escaped, the short ones first. Many
//! zeros in a row, of which files of the log are full, stand as their number: `\0{4096}`.
//!
//! Promises: what is printed reads back as the same inputs; a change to a corpus is a change that people can
//! read. Refuses: anything but lines of this kind.

/// Fewer zeros in a row stand for themselves.
const ZEROS_MIN: usize = 8;
/// More are no input of ours.
const ZEROS_MAX: usize = 1 << 20;

/// Reads a corpus, or says in which line it is none.
pub fn parse(text: &str) -> Result<Vec<Vec<u8>>, usize> {
    (1..).zip(text.lines()).map(|(number, line)| unescaped(line).ok_or(number)).collect()
}

/// Prints a corpus; equal inputs once.
pub fn print(mut inputs: Vec<Vec<u8>>) -> String {
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    inputs.dedup();
    inputs.iter().map(|input| format!("\"{}\"\n", escaped(input))).collect()
}

fn escaped(input: &[u8]) -> String {
    let runs = input.chunk_by(|a, b| (*a == 0) == (*b == 0));
    runs.map(|run| match run {
        [0, ..] if run.len() >= ZEROS_MIN => format!("\\0{{{}}}", run.len()),
        _ => run.escape_ascii().to_string(),
    })
    .collect()
}

fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut rest = line.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    let mut input = Vec::with_capacity(rest.len());
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'\\' {
            input.push(byte);
            continue;
        }
        let (&letter, behind) = rest.split_first()?;
        rest = behind;
        if letter == b'0' {
            let end = rest.iter().position(|byte| *byte == b'}')?;
            let digits = std::str::from_utf8(rest[..end].strip_prefix(b"{")?).ok()?;
            let zeros = digits.parse::<usize>().ok().filter(|zeros| *zeros <= ZEROS_MAX)?;
            input.resize(input.len() + zeros, 0);
            rest = &rest[end + 1..];
            continue;
        }
        input.push(match letter {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'\\' | b'"' | b'\'' => letter,
            b'x' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                rest = behind;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        let zeros = [&[0; ZEROS_MIN - 1][..], b"{}", &[0; 10 * ZEROS_MIN], b"0"].concat();
        let inputs = vec![Vec::new(), b" ".to_vec(), b"\"\\'".to_vec(), zeros, all];
        assert!(print(inputs.clone()).contains("{}\\0{80}0\""));
        assert_eq!(parse(&print(inputs.clone())), Ok(inputs.clone()));
        let twice = [inputs.clone(), inputs.clone()].concat();
        assert_eq!(print(twice), print(inputs));
    }

    #[test]
    fn what_is_no_corpus_is_refused() {
        for wrong in [
            "x",
            "\"",
            "\"\\\"",
            "\"\\q\"",
            "\"\\x1\"",
            "\"\\xgg\"",
            "\"\\0\"",
            "\"\\0{9\"",
            "\"\\0{-1}\"",
            "\"\\0{9999999}\"",
        ] {
            assert_eq!(parse(&format!("\"\"\n{wrong}\n")), Err(2), "{wrong}");
        }
    }
}
