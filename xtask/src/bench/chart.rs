//! The table as a picture: a bar for each peer, as long as it is good beside Postfix.
//!
//! Promises: plain SVG without fonts, scripts or anything to load; the figure stands beside its bar, and what
//! must be reached against Postfix is a line across it.
//! Refuses: a logarithmic scale. A bar twice as long is twice as good.

use std::fmt::Write as _;

use super::report::{Report, Shown};
use super::requirement::Measure;

const ROW: usize = 18;
const GAP: usize = 10;
const LABELS: usize = 330;
const BARS: f64 = 420.0;
const WIDTH: usize = 900;
/// What must be reached, as a line across its bar.
const MUST: &str = "#c0392b";

/// The picture of `report`; figures without a ratio are left out.
pub(crate) fn svg(report: &Report) -> String {
    let shown: Vec<Shown> = report.shown().into_iter().filter(|shown| shown.ratio.is_some()).collect();
    let ratios = shown.iter().flat_map(|shown| shown.ratio.into_iter().chain(must(shown)));
    let longest = ratios.fold(1.0, f64::max);
    let mut body = String::new();
    let mut y = 3 * ROW;
    let mut figure = "";
    for one in &shown {
        if one.figure != figure {
            figure = one.figure;
            y += GAP;
            text(&mut body, 10, y + 13, figure);
        }
        let ratio = one.ratio.unwrap_or_default();
        let (length, colour) = (ratio / longest * BARS, colour(one.peer));
        let height = ROW - 4;
        push(
            &mut body,
            format!(
                "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{length:.1}\" height=\"{height}\" fill=\"{colour}\"/>"
            ),
        );
        let bound = must(one).map(|must| must / longest * BARS);
        if let Some(bound) = bound {
            let x = LABELS as f64 + bound;
            push(
                &mut body,
                format!("<path d=\"M{x:.1} {} v{}\" stroke=\"{MUST}\" stroke-width=\"2\"/>", y - 2, ROW),
            );
        }
        let end = length.max(bound.unwrap_or_default()) as usize;
        let digits = if one.median < 10.0 { 2 } else { 0 };
        let label = format!("{} {:.digits$} {} ({ratio:.1})", one.peer, one.median, one.unit.symbol());
        text(&mut body, LABELS + 6 + end, y + 12, &label);
        y += ROW;
    }
    let height = y + ROW;
    let mut page = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut page, 10, 20, "Times as good as Postfix (longer is better; the line: what must be reached)");
    text(&mut page, 10, 38, report.machine());
    page + &body + "</svg>\n"
}

/// How many times as good as Postfix it must be.
fn must(shown: &Shown) -> Option<f64> {
    let required = shown.judged.iter().map(|one| one.requirement);
    required.filter(|one| one.measure == Measure::TimesPostfix).find_map(|one| one.must)
}

fn colour(peer: &str) -> &'static str {
    match peer {
        "postrider" => "#2f6f4f",
        "postfix" => "#b0b0b0",
        _ => "#d9c27a",
    }
}

fn push(page: &mut String, line: String) {
    page.push_str(&line);
    page.push('\n');
}

fn text(page: &mut String, x: usize, y: usize, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let line = writeln!(page, "<text x=\"{x}\" y=\"{y}\" fill=\"#222222\">{words}</text>");
    line.expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report;

    #[test]
    fn the_longest_bar_is_the_best_and_every_figure_is_named() {
        let page = svg(&report::tests::sample());
        assert!(page.starts_with("<svg ") && page.ends_with("</svg>\n"));
        assert_eq!(page.matches("<rect x=").count(), 4);
        assert!(page.contains("width=\"420.0\"") && page.contains("postrider 600 /s (6.0)"), "{page}");
    }
}
