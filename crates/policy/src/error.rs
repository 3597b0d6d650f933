//! What is wrong with a file of policies, and what to write.

/// Why policies were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read as Cedar.
    #[error("{file}:{line}: this is not a Cedar policy: {reason}")]
    Syntax {
        /// The file.
        file: String,
        /// The line on which the statement begins.
        line: usize,
        /// What Cedar says.
        reason: String,
    },
    /// It permits.
    #[error(
        "{file}:{line}: a file of policies may only `forbid`; what an agent may do is given by grants: remove the `permit` and use `nightlatch grant add`"
    )]
    Permit {
        /// The file.
        file: String,
        /// The line on which the statement begins.
        line: usize,
    },
    /// It does not fit the schema.
    #[error("{file}:{line}: {reason}; `nightlatch policy show` lists what a policy may read")]
    Invalid {
        /// The file.
        file: String,
        /// The line on which the statement begins.
        line: usize,
        /// What Cedar says.
        reason: String,
    },
    /// Two statements bear the same name.
    #[error("{file}:{line}: the name `{id}` is taken; give each statement its own `@id(\"…\")`")]
    Duplicate {
        /// The file.
        file: String,
        /// The line on which the statement begins.
        line: usize,
        /// The name.
        id: String,
    },
    /// There is more than is read.
    #[error("{file}: larger than {limit}; split it or say the same with fewer words")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// The schema or the policies in the program do not hold. A test keeps this from happening.
    #[error("the program's own policies do not hold: {0}; this is a fault of the program, please report it")]
    Embedded(String),
}
