//! What `bench keeper` runs on: an issuer, a PostgreSQL server, and the databases and folders of each keeper.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::super::{
    child::free,
    load::{Issuer, Keeper},
    ours::slow_sync,
    programs::{Folder, KeeperPrograms},
};
use crate::{
    machine::{self, Fault, Outcome},
    parts::OwnPostgres,
};

/// What an operator of a million chains would give the server at the least.
const SETTINGS: [&str; 2] = ["shared_buffers=256MB", "max_wal_size=2GB"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    pub(super) const BOTH: [Self; 2] = [Self::Sqlite, Self::Postgres];
}

impl fmt::Display for Engine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    /// This machine's.
    Plain,
    /// Every sync takes a millisecond longer: of the keeper, and of the server's processes.
    Slow,
}

impl fmt::Display for Disk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Plain => "plain",
            Self::Slow => "slow",
        })
    }
}

/// What figures of an engine on a disk stand under.
pub(super) fn name(engine: Engine, disk: Disk) -> String {
    match disk {
        Disk::Plain => engine.to_string(),
        Disk::Slow => format!("{engine}-slow-disk"),
    }
}

/// Everything that runs on one disk.
pub(super) struct Stage {
    keeper: PathBuf,
    folder: PathBuf,
    disk: Disk,
    slow_sync: Option<PathBuf>,
    pub(super) issuer: Issuer,
    postgres: OwnPostgres,
}

impl Stage {
    pub(super) fn set(
        programs: &KeeperPrograms,
        folder: &Folder,
        disk: Disk,
        origins: usize,
    ) -> Outcome<Self> {
        let own = folder.path().join(disk.to_string());
        machine::make_folder(&own)?;
        let slow_sync = match disk {
            Disk::Plain => None,
            Disk::Slow => Some(slow_sync(&own)?),
        };
        let postgres = OwnPostgres::start(&own, &SETTINGS, slow_sync.as_deref())?;
        let issuer = Issuer::start(free(&programs.bench), origins)?;
        Ok(Self { keeper: programs.keeper.clone(), folder: own, disk, slow_sync, issuer, postgres })
    }

    pub(super) fn name(&self, engine: Engine) -> String {
        name(engine, self.disk)
    }

    /// The keeper's program over the store of that name, made where there is none.
    pub(super) fn keeper(&self, engine: Engine, place: &str) -> Outcome<Keeper> {
        let folder = self.place(engine, place);
        let store = match engine {
            Engine::Sqlite => "sqlite".to_owned(),
            Engine::Postgres => {
                if !folder.is_dir() {
                    self.psql("postgres", &format!("CREATE DATABASE {place}"))?;
                }
                self.database(place)
            }
        };
        machine::make_folder(&folder)?;
        let mut program = free(&self.keeper);
        if let Some(library) = &self.slow_sync {
            program.env("LD_PRELOAD", library);
        }
        Keeper::open(program, &store, &folder, &self.issuer.ports)
    }

    /// Puts copies of the one chain into a database that nobody serves.
    pub(super) fn copy_chains(&self, engine: Engine, place: &str, copies: usize) -> Outcome {
        let mut python = Command::new("python3");
        python.arg(machine::root()?.join("bench/chains.py")).arg(copies.to_string());
        match engine {
            Engine::Sqlite => python.arg(self.place(engine, place).join("db.sqlite")),
            Engine::Postgres => python.arg(self.database(place)).arg(&self.postgres.psql),
        };
        machine::stage(&format!("keeper: {copies} chains ({engine})"), || machine::output(&mut python))
            .map(drop)
    }

    /// Gives their room back.
    pub(super) fn discard(&self, engine: Engine, places: &[&str]) -> Outcome {
        for place in places {
            if engine == Engine::Postgres {
                self.psql("postgres", &format!("DROP DATABASE {place}"))?;
            }
            let folder = self.place(engine, place);
            fs::remove_dir_all(&folder).map_err(|error| {
                Fault::one(format!("bench: cannot remove `{}`: {error}", folder.display()))
            })?;
        }
        Ok(())
    }

    fn place(&self, engine: Engine, place: &str) -> PathBuf {
        self.folder.join(format!("{engine}-{place}"))
    }

    fn database(&self, place: &str) -> String {
        format!("{}/{place}", self.postgres.address)
    }

    fn psql(&self, database: &str, command: &str) -> Outcome {
        let mut psql = Command::new(&self.postgres.psql as &Path);
        machine::output(psql.arg(self.database(database)).args(["-qX", "-c", command])).map(drop)
    }
}
