//! The keepers, as a gateway and as control see them: one at a time, and another where that one is gone.
//!
//! A gateway stays with the keeper that answers it, since a wake lives in the memory of the keeper that verified its
//! proof. When that keeper is gone its wakes are: whoever asks for a lease is told so, proves anew, and another keeper
//! verifies it. What must be done once is asked of another keeper only where it is certain that the first one saw nothing.

use super::{
    messages::{ControlAnswer, KeeperAnswer, OfGateway, read, written},
    office::{Office, Unheard},
};
use nightlatch_custody::link::Known;
use nightlatch_domain::{
    id::{InstallationId, PeerId, WakeId},
    ports::{
        Boxed,
        control_keeper::{ControlRefusal, ControlReply, ControlRequest, KeeperForControl},
        gateway_keeper::{GatewayReply, GatewayRequest, KeeperForGateway, KeeperRefusal},
        mailbox::Role,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

/// The longest that a keeper is waited for: whoever asks has a shorter bound of its own.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// What control asks may wait for a provider and a tool, one after the other.
const CONTROL_WITHIN: Duration = Duration::from_secs(150);
/// Between two looks for a first keeper.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// No wake lasts longer, so nothing is asked for in an older one.
const WAKE_LASTS_MAX: Duration = Duration::from_secs(2 * 3600);

/// The keepers that this process may ask.
pub(super) struct Keepers {
    office: Arc<Office>,
    /// Whom it asked last, and who answered.
    current: Mutex<Option<PeerId>>,
    /// Which keeper began which wake, or handed out its challenge.
    wakes: Mutex<BTreeMap<WakeId, PeerId>>,
}

impl Keepers {
    pub(super) fn new(office: Arc<Office>) -> Self {
        Self { office, current: Mutex::default(), wakes: Mutex::default() }
    }

    /// Whose keepers they are, once one answers.
    pub(super) async fn installation(&self) -> InstallationId {
        loop {
            let asked = self.of_any::<InstallationId>(&OfGateway::Installation, ANSWER_WITHIN).await;
            if let Ok((_, installation)) = asked {
                return installation;
            }
            tracing::info!("no keeper answers yet");
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Answers when a keeper lives.
    pub(super) async fn wait(&self) {
        while self.office.living(Role::Keeper).is_empty() {
            tracing::info!("no keeper is there yet");
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The one that answered last, then the others: each process begins with another.
    fn in_turn(&self) -> Vec<Known> {
        let mut living = self.office.living(Role::Keeper);
        let current = *held(&self.current);
        let own = self.office.own().value();
        living.sort_by_key(|keeper| {
            (Some(keeper.peer()) != current, (keeper.peer().value() ^ own) & 0xFFFF_FFFF, keeper.peer())
        });
        living
    }

    /// Asks one after the other until one has it. Who answered is asked first from then on.
    async fn of_any<T: DeserializeOwned>(
        &self,
        request: &impl Serialize,
        within: Duration,
    ) -> Result<(PeerId, T), Unheard> {
        let says = written(request);
        for keeper in self.in_turn() {
            match self.office.ask(&keeper, &says, within).await {
                Ok(answer) => {
                    *held(&self.current) = Some(keeper.peer());
                    let answer = read(answer.expose()).ok_or(Unheard::Unanswered)?;
                    return Ok((keeper.peer(), answer));
                }
                Err(Unheard::Untaken) => {
                    tracing::warn!(keeper = %keeper.name(), "a keeper takes nothing in; another is asked");
                }
                Err(Unheard::Unanswered) => return Err(Unheard::Unanswered),
            }
        }
        Err(Unheard::Untaken)
    }

    async fn gateway_asks(&self, request: GatewayRequest) -> KeeperAnswer {
        match request {
            GatewayRequest::Challenge { .. } => self.challenge(request).await,
            GatewayRequest::Wake(ref proof) => {
                let wake = proof.wake;
                self.of_its_keeper(wake, request).await.unwrap_or(Err(KeeperRefusal::Unavailable))
            }
            GatewayRequest::Lease(ref asked) => {
                let wake = asked.wake;
                self.of_its_keeper(wake, request).await.unwrap_or(Err(KeeperRefusal::NotAwake))
            }
            GatewayRequest::Unauthorized { wake, .. } => {
                self.of_its_keeper(wake, request).await.unwrap_or(Err(KeeperRefusal::NotAwake))
            }
            GatewayRequest::Sleep { wake, .. } => {
                let answer = self.of_its_keeper(wake, request).await;
                held(&self.wakes).remove(&wake);
                // A keeper that is gone has no wakes.
                answer.unwrap_or(Ok(GatewayReply::Done))
            }
            GatewayRequest::Mandate(_) | GatewayRequest::Enrol { .. } => {
                let asked =
                    self.of_any::<KeeperAnswer>(&OfGateway::Ask(Box::new(request)), ANSWER_WITHIN).await;
                asked.map_or(Err(KeeperRefusal::Unavailable), |(_, answer)| answer)
            }
        }
    }

    async fn challenge(&self, request: GatewayRequest) -> KeeperAnswer {
        let asked = self.of_any::<KeeperAnswer>(&OfGateway::Ask(Box::new(request)), ANSWER_WITHIN).await;
        let (keeper, answer) = asked.map_err(|_| KeeperRefusal::Unavailable)?;
        if let Ok(GatewayReply::Challenge(challenge)) = &answer {
            let mut wakes = held(&self.wakes);
            wakes.insert(challenge.wake, keeper);
            let oldest = challenge.wake.time().minus(WAKE_LASTS_MAX);
            while wakes.first_key_value().is_some_and(|(wake, _)| wake.time() < oldest) {
                wakes.pop_first();
            }
        }
        answer
    }

    /// Asks the keeper whose wake it is. None where that one is gone, or nobody's wake it is: it is to be proved anew.
    async fn of_its_keeper(&self, wake: WakeId, request: GatewayRequest) -> Option<KeeperAnswer> {
        let keeper = *held(&self.wakes).get(&wake)?;
        let known = self.office.living(Role::Keeper).into_iter().find(|known| known.peer() == keeper);
        let asked = match known {
            Some(known) => {
                self.office.ask(&known, &written(&OfGateway::Ask(Box::new(request))), ANSWER_WITHIN).await
            }
            None => Err(Unheard::Untaken),
        };
        match asked {
            Ok(answer) => Some(read(answer.expose()).unwrap_or(Err(KeeperRefusal::Unavailable))),
            // Slow, perhaps: then the wake is still there, and whoever asked may ask again.
            Err(Unheard::Unanswered) if self.office.lives(keeper) => Some(Err(KeeperRefusal::Unavailable)),
            Err(_) => {
                held(&self.wakes).remove(&wake);
                held(&self.current).take_if(|current| *current == keeper);
                None
            }
        }
    }

    /// Every keeper ends the wakes of a task: where one cannot be told, it is not done.
    async fn all_end_wakes(&self, request: ControlRequest) -> ControlAnswer {
        let says = Arc::new(written(&request));
        let mut asked = JoinSet::new();
        for keeper in self.office.living(Role::Keeper) {
            let (office, says) = (Arc::clone(&self.office), Arc::clone(&says));
            asked.spawn(async move { office.ask(&keeper, &says, ANSWER_WITHIN).await });
        }
        let mut ended = 0;
        for answer in asked.join_all().await {
            let answer = answer.ok().and_then(|answer| read::<ControlAnswer>(answer.expose()));
            answer.ok_or(ControlRefusal::Unavailable)??;
            ended += 1;
        }
        if ended == 0 { Err(ControlRefusal::Unavailable) } else { Ok(ControlReply::Done) }
    }
}

impl KeeperForGateway for Keepers {
    fn ask(&self, request: GatewayRequest) -> Boxed<'_, KeeperAnswer> {
        Box::pin(self.gateway_asks(request))
    }
}

impl KeeperForControl for Keepers {
    fn ask(&self, request: ControlRequest) -> Boxed<'_, ControlAnswer> {
        Box::pin(async move {
            if matches!(request, ControlRequest::EndWakes { .. }) {
                return self.all_end_wakes(request).await;
            }
            let asked = self.of_any::<ControlAnswer>(&request, CONTROL_WITHIN).await;
            asked.map_or(Err(ControlRefusal::Unavailable), |(_, answer)| answer)
        })
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
