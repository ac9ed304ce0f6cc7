//! The table: medians, ranges, ratios, as text and as JSON.
//!
//! Promises: a ratio above 1 always says that the peer is better than Postfix, whatever the figure counts.
//! Refuses: means. One bad round may not move the middle.

use std::fmt;

use serde_json::{Value, json};

use super::works::{Measured, Unit};

/// Against whom ratios are.
const BASE: &str = "postfix";

/// Everything measured in one run.
pub(crate) struct Report {
    machine: String,
    rows: Vec<Row>,
}

/// One figure of one peer, with all its rounds.
struct Row {
    peer: &'static str,
    rounds: Vec<Measured>,
}

/// One figure of one peer, as it is shown.
pub(crate) struct Shown {
    /// What was measured.
    pub(crate) figure: &'static str,
    /// Who.
    pub(crate) peer: &'static str,
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
    fn values(&self) -> Vec<f64> {
        self.rounds.iter().map(|one| one.value).collect()
    }
}

impl Report {
    /// Nothing yet.
    pub(crate) fn new(machine: String) -> Report {
        Report { machine, rows: Vec::new() }
    }

    /// One more figure of one more round.
    pub(crate) fn add(&mut self, peer: &'static str, one: Measured) {
        let same = |row: &&mut Row| row.peer == peer && row.rounds[0].figure == one.figure;
        match self.rows.iter_mut().find(same) {
            Some(row) => row.rounds.push(one),
            None => self.rows.push(Row { peer, rounds: vec![one] }),
        }
    }

    /// On which machine.
    pub(crate) fn machine(&self) -> &str {
        &self.machine
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
        let values = row.values();
        let median_of = |row: &Row| median(row.values());
        let base = self.rows.iter().find(|r| r.peer == BASE && r.rounds[0].figure == first.figure);
        let ratio = base.map(|base| match first.unit {
            Unit::PerSecond => median_of(row) / median_of(base),
            Unit::Milliseconds => median_of(base) / median_of(row),
        });
        let processors: Vec<f64> = row.rounds.iter().filter_map(|one| one.processor_us).collect();
        Shown {
            figure: first.figure,
            peer: row.peer,
            unit: first.unit,
            median: median_of(row),
            range: values.iter().fold((f64::MAX, 0.0), |(low, high), v| (v.min(low), v.max(high))),
            rounds: values.len(),
            ratio,
            processor_us: (!processors.is_empty()).then(|| median(processors)),
            peak_kib: row.rounds.iter().filter_map(|one| one.peak_kib).max(),
        }
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> String {
        let row = |shown: Shown| {
            json!({
                "figure": shown.figure, "peer": shown.peer, "unit": shown.unit.symbol(),
                "median": shown.median, "low": shown.range.0, "high": shown.range.1,
                "rounds": shown.rounds, "ratio_to_postfix": shown.ratio,
                "processor_us_per_message": shown.processor_us, "peak_kib": shown.peak_kib,
            })
        };
        let rows: Vec<Value> = self.shown().into_iter().map(row).collect();
        format!("{:#}\n", json!({ "machine": self.machine, "rows": rows }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(
            f,
            "{:<40} {:<10} {:>10} {:<3} {:>19} {:>9} {:>11} {:>9}",
            "work", "peer", "median", "", "range", "x postfix", "us CPU/msg", "peak MiB"
        )?;
        let or_dash = |value: Option<f64>, digits| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "-".to_owned(),
        };
        for shown in self.shown() {
            let range = format!("{:.1}-{:.1}", shown.range.0, shown.range.1);
            writeln!(
                f,
                "{:<40} {:<10} {:>10.1} {:<3} {range:>19} {:>9} {:>11} {:>9}",
                shown.figure,
                shown.peer,
                shown.median,
                shown.unit.symbol(),
                or_dash(shown.ratio, 2),
                or_dash(shown.processor_us, 0),
                or_dash(shown.peak_kib.map(|kib| kib as f64 / 1024.0), 1),
            )?;
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
            figure,
            value,
            unit,
            processor_us: Some(100.0),
            peak_kib: Some(2048),
        };
        for (peer, rates, time) in [("postrider", [600.0, 900.0, 100.0], 5.0), ("postfix", [100.0; 3], 50.0)]
        {
            for rate in rates {
                report.add(peer, one("accept", rate, Unit::PerSecond));
            }
            report.add(peer, one("listing", time, Unit::Milliseconds));
        }
        report
    }

    #[test]
    fn the_middle_round_counts_and_better_is_above_one() {
        let shown = sample().shown();
        let line = |at: usize| (shown[at].figure, shown[at].peer, shown[at].median, shown[at].ratio);
        assert_eq!(line(0), ("accept", "postrider", 600.0, Some(6.0)));
        assert_eq!(line(1), ("accept", "postfix", 100.0, Some(1.0)));
        assert_eq!(line(2), ("listing", "postrider", 5.0, Some(10.0)));
        assert_eq!(shown[0].range, (100.0, 900.0));
        assert_eq!(median(vec![1.0, 4.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn text_and_json_say_the_same() {
        let report = sample();
        assert!(report.to_string().contains("6.00"), "{report}");
        let json: Value = serde_json::from_str(&report.json()).expect("good JSON");
        assert_eq!(json["rows"][0]["ratio_to_postfix"], 6.0);
        assert_eq!(json["rows"].as_array().map(Vec::len), Some(4));
    }
}
