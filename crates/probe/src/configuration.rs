//! Configuration files: any text is refused with a place for each problem, or is a configuration; what is
//! shown of it is a file that means the same.

use std::path::Path;

use postrider::configuration_in_effect;

/// See the module head.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let path = Path::new("p.toml");
    match configuration_in_effect(path, text) {
        Ok(shown) => {
            let again = configuration_in_effect(path, &shown);
            let again = again.unwrap_or_else(|problems| panic!("{problems:?}\nin\n{shown}"));
            assert_eq!(without_origins(&shown), without_origins(&again));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            let placed = |problem: &String| problem.starts_with("p.toml:") || problem.starts_with("built-in");
            assert!(
                problems.iter().all(|problem| placed(problem) && !problem.contains('\n')),
                "{problems:?}"
            );
        }
    }
}

/// The same values came from other places.
fn without_origins(shown: &str) -> Vec<&str> {
    shown.lines().map(|line| line.rsplit_once("  # ").map_or(line, |(value, _)| value)).collect()
}
