//! Tables into which every call looks several times.
//!
//! Their keys are ids and digests of ours and names that operators gave, and their hash has a seed that this process
//! chose: nobody outside can make keys that collide. A hash that withstands chosen keys costs several times as much.

/// A table by such keys.
pub(crate) type Quick<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
