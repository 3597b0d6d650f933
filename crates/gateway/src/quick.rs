//! Tables into which every call looks several times.
//!
//! Their keys are ids and digests of ours and names that operators gave: nobody outside puts in keys of his choice, which
//! a hash that withstands those would cost several times as much for.

/// A table by such keys.
pub(crate) type Quick<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// A set of such keys.
pub(crate) type QuickSet<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;
