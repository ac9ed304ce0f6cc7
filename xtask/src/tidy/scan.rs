//! A scanner for Rust source that knows just enough of the language to be right about where code ends
//! and comments and strings begin.
//!
//! Promises: [`Scan::code`] and [`Scan::comments`] have exactly as many lines as the source and each
//! character stands in its line; comments (nested ones too), strings (raw, byte, C), characters and
//! lifetimes are told apart as the compiler does.
//!
//! Refuses: macros, types, meaning. A rule that needs those belongs to clippy.

/// One source text, taken apart.
pub(crate) struct Scan {
    /// The source with comments and the insides of strings and characters blanked.
    pub(crate) code: String,
    /// The source with everything but comments blanked.
    pub(crate) comments: String,
}

/// A function with a body.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of the `fn` keyword, from 1.
    pub(crate) line: usize,
    /// Lines from `fn` to the closing brace, both included.
    pub(crate) length: usize,
}

/// An item that is declared somewhere: `fn`, `struct`, `enum`, `trait`, `mod`, `type`, a macro.
#[derive(Debug, PartialEq)]
pub(crate) struct Declared {
    /// Its name.
    pub(crate) name: String,
    /// Where it is declared, from 1.
    pub(crate) line: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Code,
    LineComment,
    BlockComment(u32),
    Text,
    RawText(usize),
    Character,
}

impl Scan {
    /// Takes `source` apart.
    pub(crate) fn new(source: &str) -> Scan {
        let chars: Vec<char> = source.chars().collect();
        let mut scan =
            Scan { code: String::with_capacity(source.len()), comments: String::with_capacity(source.len()) };
        let (mut mode, mut at) = (Mode::Code, 0);
        while at < chars.len() {
            let (taken, next) = step(&chars, at, mode);
            let comment = |mode| matches!(mode, Mode::LineComment | Mode::BlockComment(_));
            let is_comment = comment(mode) || comment(next);
            let is_code = mode == Mode::Code && !is_comment;
            for &c in &chars[at..at + taken] {
                let blank = if c == '\n' { '\n' } else { ' ' };
                scan.code.push(if is_code { c } else { blank });
                scan.comments.push(if is_comment { c } else { blank });
            }
            (mode, at) = (next, at + taken);
        }
        scan
    }

    /// Every function with a body, in order.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let tokens = tokens(&self.code);
        let mut found = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let Some(name) = tokens.get(at + 1).filter(|name| token.text == "fn" && is_word(name.text))
            else {
                continue;
            };
            if let Some(last) = end_of_body(&tokens[at..]) {
                let length = last - token.line + 1;
                found.push(Function { name: name.text.to_owned(), line: token.line, length });
            }
        }
        found
    }

    /// Every item that gets a name here, in order.
    pub(crate) fn declared(&self) -> Vec<Declared> {
        const KEYWORDS: [&str; 7] = ["fn", "struct", "enum", "trait", "mod", "type", "macro_rules"];
        let tokens = tokens(&self.code);
        let mut found = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let skip = if token.text == "macro_rules" { 2 } else { 1 };
            if let Some(name) = tokens.get(at + skip)
                && KEYWORDS.contains(&token.text)
                && is_word(name.text)
            {
                found.push(Declared { name: name.text.to_owned(), line: name.line });
            }
        }
        found
    }

    /// The code with every `#[cfg(test)]` item blanked, for rules that are not about tests.
    pub(crate) fn shipped_code(&self) -> String {
        let mut code = self.code.clone();
        while let Some(start) = code.find("#[cfg(test)]") {
            let end = start + end_of_item(&code[start..]);
            let blank: String = code[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
            code.replace_range(start..end, &blank);
        }
        code
    }
}

/// How many characters belong together at `at`, and the mode after them.
fn step(chars: &[char], at: usize, mode: Mode) -> (usize, Mode) {
    let here = chars[at];
    let next = chars.get(at + 1).copied();
    match mode {
        Mode::Code => step_code(chars, at),
        Mode::LineComment => (1, if here == '\n' { Mode::Code } else { mode }),
        Mode::BlockComment(depth) => match (here, next) {
            ('/', Some('*')) => (2, Mode::BlockComment(depth + 1)),
            ('*', Some('/')) if depth == 1 => (2, Mode::Code),
            ('*', Some('/')) => (2, Mode::BlockComment(depth - 1)),
            _ => (1, mode),
        },
        Mode::Text if here == '\\' && next.is_some() => (2, mode),
        Mode::Text => (1, if here == '"' { Mode::Code } else { mode }),
        Mode::RawText(hashes) => {
            let closing = here == '"'
                && chars.len() > at + hashes
                && chars[at + 1..=at + hashes].iter().all(|&c| c == '#');
            if closing { (1 + hashes, Mode::Code) } else { (1, mode) }
        }
        Mode::Character if here == '\\' && next.is_some() => (2, mode),
        Mode::Character => (1, if here == '\'' { Mode::Code } else { mode }),
    }
}

fn step_code(chars: &[char], at: usize) -> (usize, Mode) {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => (2, Mode::LineComment),
        '/' if next == Some('*') => (2, Mode::BlockComment(1)),
        '"' => (1, Mode::Text),
        '\'' => match (next, chars.get(at + 2)) {
            (Some('\\'), _) | (Some(_), Some('\'')) => (1, Mode::Character),
            _ => (1, Mode::Code),
        },
        c if is_word_char(c) => {
            let word = chars[at..].iter().take_while(|&&c| is_word_char(c)).count();
            let hashes = chars[at + word..].iter().take_while(|&&c| c == '#').count();
            let quoted = chars.get(at + word + hashes) == Some(&'"');
            let raw = matches!(chars[at..at + word], ['r'] | ['b', 'r'] | ['c', 'r']);
            if raw && quoted { (word + hashes + 1, Mode::RawText(hashes)) } else { (word, Mode::Code) }
        }
        _ => (1, Mode::Code),
    }
}

struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// Words and single signs, with their lines.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match rest.find(|c| !is_word_char(c)) {
                _ if !is_word_char(first) => first.len_utf8(),
                Some(end) => end,
                None => rest.len(),
            };
            found.push(Token { text: &rest[..length], line: number + 1 });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// The last line of the body of the function whose tokens these are; `None` when it has no body.
fn end_of_body(tokens: &[Token<'_>]) -> Option<usize> {
    let (mut round, mut braces, mut inside) = (0i32, 0i32, false);
    for token in tokens {
        match token.text {
            "(" | "[" => round += 1,
            ")" | "]" => round -= 1,
            ";" if !inside && round == 0 => return None,
            "{" => {
                inside |= round == 0;
                braces += 1;
            }
            "}" => {
                braces -= 1;
                if inside && braces == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

/// The length of the item at the start of `code`: up to the brace that closes it or its semicolon.
fn end_of_item(code: &str) -> usize {
    let mut depth = 0i32;
    for (at, sign) in code.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_word(text: &str) -> bool {
    text.chars().all(is_word_char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_comments_are_told_apart() {
        let cases = [
            ("let a = 1; // b", "let a = 1;     ", "           // b"),
            (r#"let a = "// b";"#, r#"let a = "     ;"#, ""),
            ("/* a /* b */ c */ d", "                  d", "/* a /* b */ c */"),
            (r##"r#"a " b"# c"##, r##"r#"        c"##, ""),
            (r"'\'' a", "'    a", ""),
            ("&'a str // b", "&'a str     ", "        // b"),
            (r#""\" // x" y"#, r#""         y"#, ""),
        ];
        for (source, code, comments) in cases {
            let scan = Scan::new(source);
            assert_eq!(scan.code.trim_end(), code.trim_end(), "code of {source:?}");
            assert_eq!(scan.comments.trim_end(), comments, "comments of {source:?}");
        }
    }

    #[test]
    fn functions_are_measured_from_keyword_to_brace() {
        let source =
            "trait T { fn a(&self) -> [u8; 4]; }\nfn b() {\n  if x { \"}\"; }\n}\nfn c() { /* } */\n}\n";
        let found: Vec<_> = Scan::new(source).functions().into_iter().map(|f| (f.name, f.length)).collect();
        assert_eq!(found, [("b".to_owned(), 3), ("c".to_owned(), 2)]);
    }

    #[test]
    fn declared_names_are_found() {
        let source = "struct A; enum B {} mod c; macro_rules! d { () => {} } // fn e()\nfn f(g: fn(u8)) {}";
        let found: Vec<_> = Scan::new(source).declared().into_iter().map(|d| d.name).collect();
        assert_eq!(found, ["A", "B", "c", "d", "f"]);
    }

    #[test]
    fn shipped_code_has_no_tests() {
        let scan = Scan::new("fn a() {}\n#[cfg(test)]\nmod tests { fn b() { c(); } }\nfn d() {}\n");
        assert_eq!(scan.shipped_code().split_whitespace().collect::<String>(), "fna(){}fnd(){}");
    }
}
