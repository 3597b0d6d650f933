//! Rows are sealed, and leave this process in batches.

use super::{
    lines::{Broken, Line},
    report::Report,
    row::{Defaults, Row},
};
use crate::{error::Failure, output::hint};
use nightlatch_control::{
    Client, ClientError,
    api::{ImportAnswers, ImportItem, ImportRequest, IntakeKey, RedirectView, ToolView},
    client::segment,
};
use nightlatch_custody::{Secret, seal};
use nightlatch_domain::{
    id::ClientId,
    ports::control_keeper::{ImportFacts, ImportPart, import_context},
    sealed::Sealed,
    tool::Name,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::mpsc::Receiver;

/// Rows that are sent at once, or as many as their tokens are together so long.
const BATCH_ROWS: usize = 200;
const BATCH_BYTES: usize = 256 * 1024;
/// A keeper that cannot answer now is asked again so often, after so long.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Batches<'a> {
    client: &'a Client,
    defaults: Defaults,
    known: BTreeMap<(Name, Option<String>), Result<ClientId, NoClient>>,
    rows: Vec<(u64, ClientId, Row)>,
    bytes: usize,
}

/// Why a row has no registration.
#[derive(Debug, Clone)]
struct NoClient {
    reason: String,
    detail: String,
}

impl<'a> Batches<'a> {
    pub(super) const fn new(client: &'a Client, defaults: Defaults) -> Self {
        Self { client, defaults, known: BTreeMap::new(), rows: Vec::new(), bytes: 0 }
    }

    /// Brings in all that comes.
    pub(super) async fn bring(
        &mut self,
        mut lines: Receiver<Line>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        while let Some((number, line)) = lines.recv().await {
            report.read();
            let row = match line {
                Ok(line) => Row::read(&line, &self.defaults),
                Err(Broken::Fault(fault)) => Err(fault),
                Err(Broken::Input(error)) => return Err(Failure::Terminal(error)),
            };
            match row {
                Ok(row) => self.add(number, row, report).await?,
                Err(fault) => report.refused(number, fault.word(), &fault.to_string()),
            }
            report.tell_progress();
        }
        self.send(report).await
    }

    async fn add(&mut self, number: u64, row: Row, report: &mut Report) -> Result<(), Failure> {
        let client = match self.registration(&row).await? {
            Ok(client) => client,
            Err(NoClient { reason, detail }) => {
                report.refused(number, &reason, &detail);
                return Ok(());
            }
        };
        self.bytes += row.refresh.len() + row.access.as_ref().map_or(0, Secret::len);
        self.rows.push((number, client, row));
        if self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.send(report).await?;
        }
        Ok(())
    }

    /// The registration of a row: the one that it names, or the only one that the tool's provider has.
    async fn registration(&mut self, row: &Row) -> Result<Result<ClientId, NoClient>, Failure> {
        let key = (row.tool.clone(), row.client_id.clone());
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let found = self.find(&row.tool, row.client_id.as_deref()).await?;
        self.known.insert(key, found.clone());
        Ok(found)
    }

    async fn find(&self, tool: &Name, id: Option<&str>) -> Result<Result<ClientId, NoClient>, Failure> {
        let no = |reason: &str, detail: String| Ok(Err(NoClient { reason: reason.to_owned(), detail }));
        let asked: Result<RedirectView, _> =
            self.client.get(&format!("/v1/tools/{}/redirect", segment(tool.as_str()))).await;
        let redirect = match asked {
            Ok(redirect) => redirect,
            Err(ClientError::Refused(problem)) if problem.status < 500 => {
                let word = problem.r#type.rsplit('/').next().unwrap_or_default();
                return no(word, problem.detail.clone());
            }
            Err(error) => return Err(error.into()),
        };
        let mut fitting = redirect.clients.iter().filter(|client| id.is_none_or(|id| client.client_id == id));
        let Some(newest) = fitting.next() else {
            let provider = &redirect.provider;
            let text = format!(
                "no such client is registered for `{provider}`; register the one that the tokens were given to: run this with `--tool {tool} --client-id ID --client-secret-from-env VAR` (or `--public-client`)"
            );
            return no("client-unknown", text);
        };
        if redirect.clients.iter().any(|client| id.is_none() && client.client_id != newest.client_id) {
            let provider = &redirect.provider;
            let text = format!(
                "several clients are registered for `{provider}`; say which one the token was given to: `client_id`, or `--client-id`"
            );
            return no("client-ambiguous", text);
        }
        self.say_where_it_goes(tool).await?;
        Ok(Ok(newest.id))
    }

    /// Said once for each tool, before a token of it leaves: this is what the human confirms.
    async fn say_where_it_goes(&self, tool: &Name) -> Result<(), Failure> {
        if self.known.iter().any(|((known, _), client)| known == tool && client.is_ok()) {
            return Ok(());
        }
        let view: ToolView = self.client.get(&format!("/v1/tools/{}", segment(tool.as_str()))).await?;
        let hosts = view.tool.hosts.join(", ");
        hint(format!(
            "{}: what the tokens bring will be sent to {hosts}, and to nothing else",
            view.tool.title
        ));
        Ok(())
    }

    async fn send(&mut self, report: &mut Report) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let intake: IntakeKey = self.client.get("/v1/intake").await?;
        let items = self.rows.iter().map(|(line, client, row)| item(&intake, *line, *client, row));
        let rows = items.collect::<Result<Vec<_>, _>>()?;
        let answers = self.post(&ImportRequest { old_system_stopped: true, rows }).await?;
        // Only now: a batch that was broken off is whole again for whoever tries again.
        self.rows.clear();
        self.bytes = 0;
        answers.rows.into_iter().for_each(|answer| report.answered(answer));
        report.tell_progress();
        Ok(())
    }

    /// A batch that is sent twice is taken in once.
    async fn post(&self, request: &ImportRequest) -> Result<ImportAnswers, Failure> {
        for _ in 1..TRIES {
            match self.client.post("/v1/imports", request).await {
                Err(ClientError::Refused(problem)) if problem.status >= 500 || problem.status == 429 => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => return Ok(other?),
            }
        }
        Ok(self.client.post("/v1/imports", request).await?)
    }
}

/// The tokens of a row, sealed for what it says and for nothing else.
fn item(intake: &IntakeKey, line: u64, client: ClientId, row: &Row) -> Result<ImportItem, Failure> {
    let facts = ImportFacts {
        tool: row.tool.clone(),
        client,
        name: row.name.clone(),
        account: row.account.clone(),
        host: row.host.clone(),
    };
    let token = sealed(intake, ImportPart::Refresh, &facts, &row.refresh)?;
    let access = row.access.as_ref().map(|access| sealed(intake, ImportPart::Access, &facts, access));
    let access = access.transpose()?;
    let ImportFacts { tool, client, name, account, host } = facts;
    let (tenant, access_until) = (row.tenant.clone(), row.access_until);
    Ok(ImportItem { line, tool, client, tenant, name, account, host, token, access, access_until })
}

fn sealed(
    intake: &IntakeKey,
    part: ImportPart,
    facts: &ImportFacts,
    secret: &Secret,
) -> Result<Sealed, Failure> {
    let context = import_context(intake.tenant, part, facts);
    seal::to(&intake.key, context.as_bytes(), secret).map_err(|error| Failure::Usage(error.to_string()))
}
