//! The help of `doctor`.

/// What the doctor looks at, for its help.
pub(super) const HELP: &str = "\
Examples:
  nightlatch doctor
  nightlatch doctor --json
  nightlatch --data /srv/nightlatch/control-1 doctor      (of `serve`: control's folder)

It looks at who can read the keys; at settings of the database by which something confirmed may be
lost; at keepers that hold others up; at where the keeper's log lies. It says how late a kill may be
at a gateway that is cut off, and which rollbacks are found out here and which are not. Each finding
is `good`, a `limit` that holds by design, or `wrong`, with what to do. The exit code is 1 where
something is wrong.";
