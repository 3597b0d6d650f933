//! Bodies about policy.

use super::schema::dto;

dto! {
    /// The policies in force.
    PolicyView {
        /// What a policy may read, the built-in policies, then what the data folder adds; in Cedar.
        text: String,
    }

    /// A call that is to be judged and not made.
    Explain {
        /// The task, by id or name.
        task: String,
        /// The tool, `TOOL/CONNECTION`, or a grant's id.
        target: String,
        /// The method.
        method: String,
        /// The path, with its query, as it stands after `/TOOL` at the gateway.
        path: String,
    }

    /// What would be decided, and why.
    Explanation {
        /// Whether it would be allowed.
        allowed: bool,
        /// The operation.
        operation: String,
        /// Its effect.
        effect: String,
        /// The resource that it names.
        resource: Option<String>,
        /// The grant that was judged.
        grant: Option<String>,
        /// The policies that decided.
        policies: Vec<String>,
        /// In words.
        detail: String,
    }
}
