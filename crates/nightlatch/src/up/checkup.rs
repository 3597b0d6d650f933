//! What the program knows of how it stands: its database's settings, where its log lies, what it finds out and what it
//! does not, and how late a kill may be.

use nightlatch_control::{Checkup, api::Finding};
use nightlatch_domain::ports::{
    Boxed,
    store::{ControlStore, StoreError},
};
use nightlatch_gateway::Limits;
use nightlatch_store::{PostgresStore, SqliteStore, Weakness};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The database, as far as its settings can be asked.
pub(crate) enum Database {
    /// `up`'s file.
    Sqlite(Arc<SqliteStore>),
    /// The server of `serve`.
    Postgres(Arc<PostgresStore>),
}

/// A running program, to be looked at.
pub(crate) struct Program {
    pub(crate) database: Database,
    /// Where the keeper of this process has its log, and the data folder.
    pub(crate) folders: Option<(PathBuf, PathBuf)>,
}

impl Checkup for Program {
    fn findings(&self) -> Boxed<'_, Vec<Finding>> {
        Box::pin(async move {
            let mut found = of_database(self.database.weaknesses().await);
            found.push(staleness());
            found.push(detection());
            found.extend(self.folders.as_ref().map(|(state, data)| log_folder(state, data)));
            found
        })
    }
}

impl Database {
    /// Control's part of it.
    pub(crate) fn control(&self) -> Arc<dyn ControlStore> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    async fn weaknesses(&self) -> Result<Vec<Weakness>, StoreError> {
        match self {
            Self::Sqlite(store) => store.weaknesses().await,
            Self::Postgres(store) => store.weaknesses().await,
        }
    }
}

fn of_database(weaknesses: Result<Vec<Weakness>, StoreError>) -> Vec<Finding> {
    match weaknesses {
        Ok(none) if none.is_empty() => {
            vec![Finding::good(
                "database-durable",
                "what it confirms is on the disk, and on every copy that may take over",
            )]
        }
        Ok(some) => some.iter().map(weakness).collect(),
        Err(error) => vec![Finding::wrong(
            "database-silent",
            error.to_string(),
            Some("look whether it runs, whether its disk is full, and at the log".to_owned()),
        )],
    }
}

fn weakness(one: &Weakness) -> Finding {
    if one.is_unseen() {
        return Finding::limit(one.name(), one.to_string());
    }
    Finding::wrong(one.name(), one.to_string(), None)
}

/// The worst latency of a kill at a gateway that is cut off from the database.
fn staleness() -> Finding {
    let bound = Limits::default().staleness_bound.as_secs();
    Finding::limit(
        "staleness-bound",
        format!(
            "a gateway that is cut off from the database serves for {bound} s at most: so late may a kill be there"
        ),
    )
}

fn detection() -> Finding {
    Finding::limit(
        "rollback-detection",
        "found out: a database that was restored or copied, a state folder that was copied. Not found out: a disk or a machine \
         that was rolled back together with the state folder (only a witness on another machine would, and there is none yet); nor, \
         at once, beside several keepers, a copy that is younger than a keeper's last look (15 s at most while it is at work)",
    )
}

/// A log that lies in the data folder is in every copy of it, and tells none from another.
fn log_folder(state: &Path, data: &Path) -> Finding {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (state, data) = (real(state), real(data));
    if state.starts_with(&data) {
        let advice = "stop, set XDG_STATE_HOME (`[keeper] state` for `serve`) to a folder outside of it, move the folder there, start, \
                      and `nightlatch keeper adopt` where it asks for that";
        let detail = format!("the keeper's log lies in the data folder ({})", state.display());
        return Finding::wrong("log-folder", detail, Some(advice.to_owned()));
    }
    Finding::good(
        "log-folder",
        format!("the keeper's log lies in {}, outside the data folder", state.display()),
    )
}

#[cfg(test)]
mod tests {
    //! A weakness is wrong by its own name, and a log within the data folder is.

    use super::{log_folder, of_database};
    use nightlatch_domain::ports::store::StoreError;
    use nightlatch_store::Weakness;
    use std::fs;

    #[test]
    fn each_weakness_is_wrong_by_its_own_name_and_a_silent_database_too() {
        let names = |found: Vec<nightlatch_control::api::Finding>| -> Vec<(String, bool)> {
            found.into_iter().map(|one| (one.name.clone(), one.is_wrong())).collect()
        };
        let weak =
            vec![Weakness::FsyncOff, Weakness::AsynchronousStandbys(2), Weakness::SynchronousBelowFull];
        let expected = ["fsync-off", "asynchronous-standbys", "synchronous-below-full"];
        assert_eq!(names(of_database(Ok(weak))), expected.map(|name| (name.to_owned(), true)));
        let unseen = of_database(Ok(vec![Weakness::UnseenStandbys(1)]));
        assert_eq!(unseen.iter().map(|one| one.state.as_str()).collect::<Vec<_>>(), ["limit"], "nor good");
        assert!(unseen[0].detail.contains("pg_read_all_stats"));
        assert_eq!(names(of_database(Ok(Vec::new()))), [("database-durable".to_owned(), false)]);
        let silent = names(of_database(Err(StoreError::Unavailable)));
        assert_eq!(silent, [("database-silent".to_owned(), true)]);
    }

    #[test]
    fn a_log_within_the_data_folder_is_wrong_also_by_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (data, outside) = (folder.path().join("data"), folder.path().join("state"));
        for path in [&data.join("state"), &outside] {
            fs::create_dir_all(path).unwrap();
        }
        std::os::unix::fs::symlink(data.join("state"), folder.path().join("link")).unwrap();
        assert!(!log_folder(&outside, &data).is_wrong());
        assert!(log_folder(&data.join("state"), &data).is_wrong());
        assert!(log_folder(&folder.path().join("link"), &data).is_wrong());
    }
}
