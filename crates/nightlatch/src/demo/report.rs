//! What the demo tells: one object, or the same as a table.

use crate::{error::Failure, output::table};
use serde::Serialize;

/// The whole result.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The four breaks.
    pub(crate) breaks: Vec<Break>,
    /// How many of the provider's secrets the scan found with the agent.
    pub(crate) secrets_seen_by_agent: u64,
    /// How many bytes of the agent it looked at.
    pub(crate) bytes_scanned: u64,
    /// How many the same scan found with the ordinary client.
    pub(crate) control_scan_found: u64,
}

/// One break, on both sides.
#[derive(Debug, Serialize)]
pub(crate) struct Break {
    /// Its name.
    pub(crate) name: &'static str,
    /// What an ordinary client suffered.
    pub(crate) naive: Side,
    /// What the agent behind Nightlatch saw.
    pub(crate) nightlatch: Side,
}

/// How it went on one side.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Side {
    /// Whether it held, computed from answers, counters and scan.
    pub(crate) ok: bool,
    /// What did not.
    pub(crate) error: Option<String>,
    /// What the provider counted for this side's client.
    pub(crate) provider: Counted,
    /// What happened, for people.
    #[serde(skip)]
    pub(crate) saw: String,
}

/// The provider's own counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counted {
    pub(crate) refreshes: u64,
    pub(crate) reuse_detected: u64,
    pub(crate) families_revoked: u64,
}

impl Side {
    /// A side that held, or did not: `wrong` is what did not.
    pub(crate) fn judged(wrong: Option<String>, saw: String, provider: Counted) -> Self {
        Self { ok: wrong.is_none(), error: wrong, provider, saw }
    }

    /// A side that could not be played.
    pub(crate) fn unplayed(failure: &Failure, provider: Counted) -> Self {
        let error = failure.to_string();
        Self { ok: false, saw: error.clone(), error: Some(error), provider }
    }

    fn row(&self, name: &str, who: &str) -> Vec<String> {
        let Counted { refreshes, reuse_detected, families_revoked } = self.provider;
        let held = if self.ok { "held" } else { "broke" };
        let counted = [refreshes, reuse_detected, families_revoked].map(|count| count.to_string());
        let cells = [name.to_owned(), who.to_owned(), held.to_owned(), self.saw.clone()];
        cells.into_iter().chain(counted).collect()
    }
}

impl Report {
    /// The table for people.
    pub(crate) fn text(&self) -> String {
        let heading = ["BREAK", "WHO", "RESULT", "WHAT HAPPENED", "REFRESHES", "REUSE", "REVOKED"];
        let rows = self.breaks.iter().flat_map(|broken| {
            [broken.naive.row(broken.name, "ordinary client"), broken.nightlatch.row("", "behind Nightlatch")]
        });
        let rows: Vec<_> = rows.collect();
        format!(
            "\n{}\nThe three numbers are the provider's own counts. {} bytes of the agent were scanned and held {} of its \
             secrets; the same scan of the ordinary client found {}.\n",
            table(&heading, &rows),
            self.bytes_scanned,
            self.secrets_seen_by_agent,
            self.control_scan_found
        )
    }

    /// Good only where every break broke the ordinary client and none broke the agent.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let wrong = self.breaks.iter().flat_map(|broken| {
            let lost = (!broken.nightlatch.ok).then(|| format!("`{}` broke behind Nightlatch", broken.name));
            let idle =
                broken.naive.ok.then(|| format!("`{}` did not break the ordinary client", broken.name));
            lost.into_iter().chain(idle)
        });
        let wrong: Vec<String> = wrong.collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Failure::Finding(format!("the demo did not hold: {}", wrong.join("; "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Break, Counted, Report, Side};

    fn side(ok: bool) -> Side {
        Side::judged((!ok).then(|| "400 invalid_grant".to_owned()), "x".to_owned(), Counted::default())
    }

    fn report(naive: bool, nightlatch: bool) -> Report {
        let held = Break { name: "two-logins", naive: side(false), nightlatch: side(true) };
        let other = Break { name: "dormancy", naive: side(naive), nightlatch: side(nightlatch) };
        Report {
            breaks: vec![held, other],
            secrets_seen_by_agent: 0,
            bytes_scanned: 1,
            control_scan_found: 1,
        }
    }

    #[test]
    fn it_is_good_only_where_each_break_broke_one_side_and_not_the_other() {
        assert!(report(false, true).verdict().is_ok());
        for (naive, nightlatch) in [(true, true), (false, false), (true, false)] {
            assert!(report(naive, nightlatch).verdict().is_err(), "{naive} {nightlatch}");
        }
    }

    #[test]
    fn a_program_reads_the_settled_object() {
        let read: serde_json::Value = serde_json::to_value(report(false, true)).unwrap();
        let side = &read["breaks"][0]["naive"];
        assert_eq!(side["error"], "400 invalid_grant");
        assert_eq!(
            side["provider"],
            serde_json::json!({"refreshes": 0, "reuse_detected": 0, "families_revoked": 0})
        );
        assert_eq!(side.as_object().unwrap().len(), 3);
        assert_eq!(read["breaks"][0]["nightlatch"]["error"], serde_json::Value::Null);
    }
}
