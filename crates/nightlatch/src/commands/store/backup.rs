//! `store backup`: a copy of one moment, there whole or not at all.

use super::{database_of, file_failed, folder_of, fresh_beside, named, opened, remove_all, sync, unusable};
use crate::{commands::Seat, error::Failure, output::hint};
use nightlatch_store::OpenError;
use serde::Serialize;
use std::{
    fs,
    path::Path,
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

/// So often it is said how far a copy is.
const SAID_EVERY: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Copied {
    file: String,
    bytes: u64,
}

pub(super) fn run(seat: &Seat, to: &Path) -> Result<(), Failure> {
    let database = database_of(&seat.place()?)?;
    if to.exists() {
        return Err(Failure::Usage(format!("`{}` is there already; name a file that is not", to.display())));
    }
    let fresh = fresh_beside(to)?;
    let made = make(seat, &database, &fresh).and_then(|()| named(&fresh, to).map_err(file_failed(to)));
    if made.is_err() {
        remove_all(&fresh);
    }
    made?;
    sync(folder_of(to))?;
    let bytes = fs::metadata(to).map_err(file_failed(to))?.len();
    let copied = Copied { file: to.display().to_string(), bytes };
    seat.output.result(&copied, |copied| {
        format!(
            "{} holds the database as it was ({} bytes). Without `keys/` of the data folder it opens nothing: keep those elsewhere",
            copied.file, copied.bytes
        )
    })
}

fn make(seat: &Seat, database: &Path, fresh: &Path) -> Result<(), Failure> {
    let whole = fs::metadata(database).map_or(0, |file| file.len());
    let (tell, told) = sync_channel(1);
    let (from, to) = (database.to_owned(), fresh.to_owned());
    let copying = thread::spawn(move || {
        let copied = nightlatch_store::SqliteFile::open(&from).and_then(|file| file.copy_to(&to));
        // Nobody listens any more where the command was ended.
        let _ = tell.send(copied);
    });
    let copied: Result<(), OpenError> = loop {
        match told.recv_timeout(SAID_EVERY) {
            Ok(copied) => break copied,
            Err(RecvTimeoutError::Timeout) => say(seat, fresh, whole),
            Err(RecvTimeoutError::Disconnected) => break Err(OpenError::Damaged),
        }
    };
    let _ = copying.join();
    copied.map_err(|error| unusable(database, &error))?;
    let faults = opened(fresh)?.check().map_err(|error| unusable(fresh, &error))?;
    if let Some(fault) = faults.first() {
        return Err(Failure::Finding(format!(
            "the database is damaged (`{}`), and so would be its copy: `nightlatch store check` says how",
            fault.name
        )));
    }
    sync(fresh)
}

fn say(seat: &Seat, fresh: &Path, whole: u64) {
    let done = fs::metadata(fresh).map_or(0, |file| file.len());
    if !seat.output.is_json() {
        hint(format!("{} of about {} MiB", done >> 20, whole >> 20));
    }
}
