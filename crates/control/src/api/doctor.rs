//! Bodies about how the installation stands where no call shows it.

use super::schema::dto;

dto! {
    /// What a look at the installation found.
    DoctorReport {
        /// All of it.
        findings: Vec<Finding>,
    }

    /// One thing that was looked at.
    Finding {
        /// A stable name.
        name: String,
        /// `good`, `limit` (it holds so far and no further) or `wrong`.
        state: String,
        /// What was found.
        detail: String,
        /// What to do about it.
        advice: Option<String>,
    }
}

impl Finding {
    /// Something that is as it should be.
    #[must_use]
    pub fn good(name: &str, detail: impl Into<String>) -> Self {
        Self::of(name, "good", detail.into(), None)
    }

    /// Something that holds so far and no further, by design.
    #[must_use]
    pub fn limit(name: &str, detail: impl Into<String>) -> Self {
        Self::of(name, "limit", detail.into(), None)
    }

    /// Something that somebody should see to.
    #[must_use]
    pub fn wrong(name: &str, detail: impl Into<String>, advice: Option<String>) -> Self {
        Self::of(name, "wrong", detail.into(), advice)
    }

    /// Whether somebody should see to it.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.state == "wrong"
    }

    fn of(name: &str, state: &str, detail: String, advice: Option<String>) -> Self {
        Self { name: name.to_owned(), state: state.to_owned(), detail, advice }
    }
}
