//! A PostgreSQL server of one test's own, beside the one that all share.

use super::parts::parts;
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// The server; it ends with its standard input.
pub(crate) struct Server {
    /// As whoever owns it.
    pub(crate) address: String,
    child: Child,
}

impl Server {
    /// One of the version that the shared one has, told so by words of its script.
    pub(crate) fn started(words: &[&str]) -> Self {
        let (program, arguments) = parts().postgres.serve.split_first().expect("how one is started");
        let mut command = Command::new(program);
        command.args(arguments).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("it says where it is");
        let said: Value = serde_json::from_str(&line).expect("in JSON");
        Self { address: said["address"].as_str().expect("an address").to_owned(), child }
    }

    /// Its address and port.
    pub(crate) fn authority(&self) -> &str {
        self.address.rsplit_once('@').expect("a user").1
    }

    pub(crate) fn port(&self) -> &str {
        self.address.rsplit_once(':').expect("a port").1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
