//! What the record costs, as the operating system counts it: a million ids over 100,000 sites.

use flush::Record;
use mail::QueueId;

const SITES: u64 = 100_000;
const IDS: u64 = 1_000_000;
/// Bytes for each (site, id) pair, names and all overheads included.
const BYTES_A_PAIR_MAX: u64 = 32;

/// Bytes of resident memory; nothing where the system does not say.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[test]
fn a_million_ids_cost_a_bounded_number_of_bytes_each() {
    let before = resident();
    let mut record = Record::new();
    for n in 0..IDS {
        // A large odd stride visits the sites in no order that favours any structure.
        let site = n * 7_919 % SITES;
        record.add(&format!("mail{site}.example.com"), QueueId::from_u64(n << 20));
    }
    let after = resident();
    assert_eq!((record.len() as u64, record.site_count() as u64), (IDS, SITES));
    let (Some(before), Some(after)) = (before, after) else { return };
    // A system that is short of memory may have taken pages away meanwhile.
    let grown = after.saturating_sub(before);
    let each = grown as f64 / IDS as f64;
    println!("{IDS} ids over {SITES} sites: {each:.1} bytes each");
    assert!(grown <= BYTES_A_PAIR_MAX * IDS, "{each:.1} bytes a pair");
}
