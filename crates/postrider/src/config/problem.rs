//! What is wrong with a configuration: one line for each problem, with its place and the way out.

use std::fmt;

/// One problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    /// `FILE:LINE:COLUMN`, `environment NAME` or `-o PLACE`.
    pub(crate) place: String,
    /// What is wrong, and what would be right.
    pub(crate) text: String,
    /// The line of the file with a caret under the column, for terminals.
    pub(crate) excerpt: Option<String>,
}

impl Problem {
    /// A problem without a line to show.
    pub(crate) fn new(place: impl Into<String>, text: impl Into<String>) -> Problem {
        Problem { place: place.into(), text: text.into(), excerpt: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Every problem found; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}

/// The known name nearest to a misspelt one, when it is near enough to be meant.
pub(crate) fn nearest<'n>(written: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let limit = (written.len() / 3).clamp(1, 5);
    let scored = known.into_iter().map(|name| (distance(written, name), name));
    scored
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one text into the other.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &to) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(from != to)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from == b[j - 1] && a[i - 1] == to {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_typing_mistakes() {
        for (a, b, steps) in
            [("", "", 0), ("a", "", 1), ("listen", "lisetn", 1), ("kind", "find", 1), ("ab", "cd", 2)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (steps, steps), "{a} {b}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["listen", "hostname", "message_size_limit"];
        assert_eq!(nearest("mesage_size_limits", known), Some("message_size_limit"));
        assert_eq!(nearest("lsiten", known), Some("listen"));
        assert_eq!(nearest("port", known), None);
    }
}
