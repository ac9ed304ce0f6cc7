//! The table: medians, ranges, ratios, verdicts, as text and as JSON.
//!
//! Promises: a ratio above 1 always says that the peer is better than Postfix, whatever the figure counts.
//! A requirement whose figures were not all measured is not in the table of verdicts. Refuses: means. One
//! bad round may not move the middle.

use std::fmt;

use serde_json::{Value, json};

use super::measured::{Measured, Unit};
use super::requirement::{Measure, REQUIREMENTS, Requirement, Verdict};

/// Whose requirements are judged.
const OURS: &str = "postrider";
/// Against whom ratios are.
const BASE: &str = "postfix";
/// The load tools by themselves.
const CEILING: &str = "ceiling";

/// Everything measured in one run.
pub(crate) struct Report {
    machine: String,
    remarks: Vec<String>,
    rows: Vec<Row>,
}

/// One figure of one peer, with all its rounds.
struct Row {
    peer: &'static str,
    setting: &'static str,
    rounds: Vec<Measured>,
}

/// One figure of one peer, as it is shown.
pub(crate) struct Shown {
    /// What was measured.
    pub(crate) figure: &'static str,
    /// Who.
    pub(crate) peer: &'static str,
    /// The setting it was measured with.
    pub(crate) setting: &'static str,
    /// Of what.
    pub(crate) unit: Unit,
    /// The middle round.
    pub(crate) median: f64,
    /// The lowest and the highest round.
    pub(crate) range: (f64, f64),
    /// How many rounds.
    pub(crate) rounds: usize,
    /// How many times better than [`BASE`]; none without it.
    pub(crate) ratio: Option<f64>,
    /// Processor time for each message, in microseconds.
    pub(crate) processor_us: Option<f64>,
    /// Memory at its highest, in KiB.
    pub(crate) peak_kib: Option<u64>,
    /// What is required of it.
    pub(crate) judged: Vec<Judged>,
}

/// A requirement and what became of it.
pub(crate) struct Judged {
    /// Which.
    pub(crate) requirement: &'static Requirement,
    /// What was measured, in the terms of the requirement.
    pub(crate) value: f64,
    /// Whether that is enough.
    pub(crate) verdict: Verdict,
}

/// The middle of `values`; of two middles the mean.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (length, middle) if length % 2 == 1 => values[middle],
        (_, middle) => (values[middle - 1] + values[middle]) / 2.0,
    }
}

impl Row {
    fn median(&self) -> f64 {
        median(self.rounds.iter().map(|one| one.value).collect())
    }

    fn processor_us(&self) -> Option<f64> {
        let processors: Vec<f64> = self.rounds.iter().filter_map(|one| one.processor_us).collect();
        (!processors.is_empty()).then(|| median(processors))
    }
}

impl Report {
    /// Nothing yet.
    pub(crate) fn new(machine: String) -> Report {
        Report { machine, remarks: Vec::new(), rows: Vec::new() }
    }

    /// One more figure of one more round.
    pub(crate) fn add(&mut self, peer: &'static str, setting: &'static str, one: Measured) {
        let same = |row: &&mut Row| row.peer == peer && row.rounds[0].figure == one.figure;
        match self.rows.iter_mut().find(same) {
            Some(row) => row.rounds.push(one),
            None => self.rows.push(Row { peer, setting, rounds: vec![one] }),
        }
    }

    /// Something a reader of the table has to know; said once however often it is remarked.
    pub(crate) fn remark(&mut self, words: String) {
        if !self.remarks.contains(&words) {
            self.remarks.push(words);
        }
    }

    /// On which machine.
    pub(crate) fn machine(&self) -> &str {
        &self.machine
    }

    fn row(&self, peer: &str, figure: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.peer == peer && row.rounds[0].figure == figure)
    }

    /// All rows, the peers of one figure together.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let mut figures: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !figures.contains(&row.rounds[0].figure) {
                figures.push(row.rounds[0].figure);
            }
        }
        let of = |figure| self.rows.iter().filter(move |row| row.rounds[0].figure == figure);
        figures.into_iter().flat_map(of).map(|row| self.show(row)).collect()
    }

    fn show(&self, row: &Row) -> Shown {
        let first = &row.rounds[0];
        let values = row.rounds.iter().map(|one| one.value);
        let ours = REQUIREMENTS.iter().filter(|one| one.figure == first.figure && row.peer == OURS);
        Shown {
            figure: first.figure,
            peer: row.peer,
            setting: row.setting,
            unit: first.unit,
            median: row.median(),
            range: values.fold((f64::MAX, 0.0), |(low, high), v| (v.min(low), v.max(high))),
            rounds: row.rounds.len(),
            ratio: self.ratio(row),
            processor_us: row.processor_us(),
            peak_kib: row.rounds.iter().filter_map(|one| one.peak_kib).max(),
            judged: ours.filter_map(|one| self.judge(one, row)).collect(),
        }
    }

    fn ratio(&self, row: &Row) -> Option<f64> {
        let base = self.row(BASE, row.rounds[0].figure)?;
        let more = row.rounds[0].unit.more_is_better();
        Some(if more { row.median() / base.median() } else { base.median() / row.median() })
    }

    fn judge(&self, requirement: &'static Requirement, row: &Row) -> Option<Judged> {
        let value = match requirement.measure {
            Measure::TimesPostfix => self.ratio(row)?,
            Measure::OfCeiling => row.median() / self.row(CEILING, requirement.figure)?.median(),
            Measure::ProcessorOfPostfix => {
                self.row(BASE, requirement.figure)?.processor_us()? / row.processor_us()?
            }
            Measure::Itself => row.median(),
        };
        Some(Judged { requirement, value, verdict: requirement.judge(value, row.rounds[0].unit) })
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> String {
        let judged = |one: &Judged, unit: Unit| {
            json!({
                "compared": one.requirement.words(unit), "must": one.requirement.must,
                "aim": one.requirement.aim, "value": one.value, "verdict": one.verdict.word(),
            })
        };
        let row = |shown: Shown| {
            let required: Vec<Value> = shown.judged.iter().map(|one| judged(one, shown.unit)).collect();
            json!({
                "figure": shown.figure, "peer": shown.peer, "setting": shown.setting,
                "unit": shown.unit.symbol(),
                "median": shown.median, "low": shown.range.0, "high": shown.range.1,
                "rounds": shown.rounds, "ratio_to_postfix": shown.ratio,
                "processor_us_per_message": shown.processor_us, "peak_kib": shown.peak_kib,
                "required": required,
            })
        };
        let rows: Vec<Value> = self.shown().into_iter().map(row).collect();
        let page = json!({ "machine": self.machine, "remarks": self.remarks, "rows": rows });
        format!("{page:#}\n")
    }

    /// One line for each requirement.
    fn verdicts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown();
        if shown.iter().all(|shown| shown.judged.is_empty()) {
            return Ok(());
        }
        writeln!(
            f,
            "\n{:<42} {:<11} {:>8} {:>8} {:>10}  verdict",
            "required", "compared", "must", "aim", "measured"
        )?;
        for shown in &shown {
            for one in &shown.judged {
                let required = one.requirement;
                writeln!(
                    f,
                    "{:<42} {:<11} {:>8} {:>8} {:>10.3}  {}",
                    shown.figure,
                    required.words(shown.unit),
                    or_dash(required.must, 2),
                    or_dash(required.aim, 2),
                    one.value,
                    one.verdict.word()
                )?;
            }
        }
        Ok(())
    }
}

fn or_dash(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

impl Shown {
    /// The worst of what is required of this row, for its last column.
    fn verdict(&self) -> &'static str {
        let all = || self.judged.iter().map(|one| one.verdict);
        if all().any(|verdict| verdict == Verdict::Missed) {
            return Verdict::Missed.word();
        }
        match all().next() {
            None => "",
            Some(_) if all().all(|verdict| verdict == Verdict::Aimed) => Verdict::Aimed.word(),
            Some(_) => Verdict::Passed.word(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(
            f,
            "{:<42} {:<10} {:<8} {:>10} {:<5} {:>19} {:>9} {:>11} {:>9}  required",
            "work", "peer", "setting", "median", "", "range", "x postfix", "us CPU/msg", "peak MiB"
        )?;
        for shown in self.shown() {
            let digits = shown.unit.digits();
            let range = format!("{:.digits$}-{:.digits$}", shown.range.0, shown.range.1);
            let line = format!(
                "{:<42} {:<10} {:<8} {:>10.digits$} {:<5} {range:>19} {:>9} {:>11} {:>9}  {}",
                shown.figure,
                shown.peer,
                shown.setting,
                shown.median,
                shown.unit.symbol(),
                or_dash(shown.ratio, 2),
                or_dash(shown.processor_us, 0),
                or_dash(shown.peak_kib.map(|kib| kib as f64 / 1024.0), 1),
                shown.verdict(),
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        self.verdicts(f)?;
        for remark in &self.remarks {
            writeln!(f, "\n{remark}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two peers, one figure of each kind.
    pub(crate) fn sample() -> Report {
        let mut report = Report::new("a machine".into());
        let one = |figure, value, unit| Measured {
            processor_us: Some(100.0),
            peak_kib: Some(2048),
            ..Measured::plain(figure, value, unit)
        };
        for (peer, rates, time) in [("postrider", [600.0, 900.0, 100.0], 5.0), ("postfix", [100.0; 3], 50.0)]
        {
            for rate in rates {
                report.add(peer, "shipped", one("accept, 50 connections", rate, Unit::PerSecond));
            }
            report.add(peer, "shipped", one("listing of the backlog, first line", time, Unit::Milliseconds));
        }
        report
    }

    #[test]
    fn the_middle_round_counts_and_better_is_above_one() {
        let shown = sample().shown();
        let line = |at: usize| (shown[at].peer, shown[at].median, shown[at].ratio);
        assert_eq!(line(0), ("postrider", 600.0, Some(6.0)));
        assert_eq!(line(1), ("postfix", 100.0, Some(1.0)));
        assert_eq!(line(2), ("postrider", 5.0, Some(10.0)));
        assert_eq!(shown[0].range, (100.0, 900.0));
        assert_eq!(median(vec![1.0, 4.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn only_what_was_measured_and_is_ours_is_judged() {
        let mut report = sample();
        let verdicts = |report: &Report| -> Vec<(&str, &str)> {
            report.shown().iter().map(|shown| (shown.peer, shown.verdict())).collect()
        };
        let expected = [("postrider", "pass"), ("postfix", ""), ("postrider", "pass, aim"), ("postfix", "")];
        assert_eq!(verdicts(&report), expected, "no ceiling was measured");
        report.add(CEILING, "shipped", Measured::plain("accept, 50 connections", 1201.0, Unit::PerSecond));
        assert_eq!(verdicts(&report)[0], ("postrider", "MISSED"), "less than half of the ceiling");
        assert!(report.to_string().contains("of ceiling"), "{report}");
    }

    #[test]
    fn text_and_json_say_the_same() {
        let mut report = sample();
        report.remark("short".into());
        report.remark("short".into());
        let text = report.to_string();
        assert!(text.contains("6.00") && text.matches("short").count() == 1, "{text}");
        let json: Value = serde_json::from_str(&report.json()).expect("good JSON");
        assert_eq!(json["rows"][0]["ratio_to_postfix"], 6.0);
        assert_eq!(json["rows"][0]["setting"], "shipped");
        assert_eq!(json["rows"][0]["required"][0]["verdict"], "pass");
        assert_eq!(json["rows"].as_array().map(Vec::len), Some(4));
    }
}
