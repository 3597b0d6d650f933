//! The keepers, as a gateway and as control see them: one at a time, and another where that one is gone.
//!
//! A gateway stays with the keeper that answers it, since a wake lives in the memory of the keeper that verified its
//! proof. When that keeper is gone its wakes are: whoever asks for a lease is told so, proves anew, and another keeper
//! verifies it. What must be done once is asked of another keeper only where it is certain that the first one did nothing;
//! what changes nothing is asked of the next one soon.

use super::{
    messages::{ControlAnswer, KeeperAnswer, OfGateway, read, written},
    office::{Office, Unheard},
};
use nightlatch_custody::link::Known;
use nightlatch_domain::{
    id::{InstallationId, KeeperId, PeerId, WakeId},
    ports::{
        Boxed,
        control_keeper::{ControlRefusal, ControlReply, ControlRequest, KeeperForControl, KeeperRoll},
        gateway_keeper::{GatewayReply, GatewayRequest, KeeperForGateway, KeeperRefusal},
        mailbox::Role,
    },
    tool::Name,
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
/// What changes nothing takes a keeper no longer, unless it is stuck: then another is asked, if there is one.
const STUCK_AFTER: Duration = Duration::from_secs(4);
/// Who does not say within that who it is, is shown as not at work.
const ROLL_WITHIN: Duration = Duration::from_secs(5);
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
    wakes: Mutex<BTreeMap<WakeId, Wake>>,
}

/// A wake, as far as this process knows.
#[derive(Clone, Copy)]
struct Wake {
    keeper: PeerId,
    /// Nothing is asked for in it any more: its keeper does not answer, and may still hold it.
    is_over: bool,
}

/// What may be asked of another keeper where one does not answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It changes nothing that outlives the answer.
    None,
    /// What may have been done is not asked again.
    Once,
}

impl Keepers {
    pub(super) fn new(office: Arc<Office>) -> Self {
        Self { office, current: Mutex::default(), wakes: Mutex::default() }
    }

    /// Whose keepers they are, once one answers.
    pub(super) async fn installation(&self) -> InstallationId {
        loop {
            let asked =
                self.of_any::<InstallationId>(&OfGateway::Installation, (Effect::None, ANSWER_WITHIN)).await;
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
        (effect, within): (Effect, Duration),
    ) -> Result<(PeerId, T), Unheard> {
        let says = written(request);
        let mut keepers = self.in_turn().into_iter().peekable();
        while let Some(keeper) = keepers.next() {
            let goes_on = effect == Effect::None && keepers.peek().is_some();
            let within = if goes_on { within.min(STUCK_AFTER) } else { within };
            match self.office.ask(&keeper, &says, within).await {
                Ok(answer) => {
                    *held(&self.current) = Some(keeper.peer());
                    let answer = read(answer.expose()).ok_or(Unheard::Unanswered)?;
                    return Ok((keeper.peer(), answer));
                }
                Err(Unheard::Untaken | Unheard::Busy) => {
                    tracing::warn!(keeper = %keeper.name(), "a keeper takes nothing in; another is asked");
                }
                Err(Unheard::Unanswered) if goes_on => {
                    tracing::warn!(keeper = %keeper.name(), "a keeper does not answer; another is asked");
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
            GatewayRequest::Sleep { wake, .. } => self.ends(wake, request).await,
            GatewayRequest::Mandate(_) | GatewayRequest::Enrol { .. } => {
                let request = OfGateway::Ask(Box::new(request));
                let asked = self.of_any::<KeeperAnswer>(&request, (Effect::Once, ANSWER_WITHIN)).await;
                asked.map_or(Err(KeeperRefusal::Unavailable), |(_, answer)| answer)
            }
        }
    }

    async fn challenge(&self, request: GatewayRequest) -> KeeperAnswer {
        let request = OfGateway::Ask(Box::new(request));
        let asked = self.of_any::<KeeperAnswer>(&request, (Effect::None, ANSWER_WITHIN)).await;
        let (keeper, answer) = asked.map_err(|_| KeeperRefusal::Unavailable)?;
        if let Ok(GatewayReply::Challenge(challenge)) = &answer {
            let mut wakes = held(&self.wakes);
            wakes.insert(challenge.wake, Wake { keeper, is_over: false });
            let oldest = challenge.wake.time().minus(WAKE_LASTS_MAX);
            while wakes.first_key_value().is_some_and(|(wake, _)| wake.time() < oldest) {
                wakes.pop_first();
            }
        }
        answer
    }

    /// Asks the keeper whose wake it is. None where that one is gone, or nobody's wake it is: it is to be proved anew.
    async fn of_its_keeper(&self, wake: WakeId, request: GatewayRequest) -> Option<KeeperAnswer> {
        let keeper = held(&self.wakes).get(&wake).filter(|wake| !wake.is_over)?.keeper;
        match self.ask_living(keeper, request).await {
            Ok(answer) => Some(answer),
            // Slow, perhaps: then the wake is still there, and whoever asked may ask again.
            Err(Unheard::Unanswered | Unheard::Busy) if self.office.lives(keeper) => {
                Some(Err(KeeperRefusal::Unavailable))
            }
            Err(_) => {
                if let Some(wake) = held(&self.wakes).get_mut(&wake) {
                    wake.is_over = true;
                }
                held(&self.current).take_if(|current| *current == keeper);
                None
            }
        }
    }

    /// Ends a wake. One that is nobody's is over, and so is one whose keeper is silent or gone: such a keeper ends its wakes
    /// by itself. Nobody else says so for one that is slow.
    async fn ends(&self, wake: WakeId, request: GatewayRequest) -> KeeperAnswer {
        let known = held(&self.wakes).get(&wake).copied();
        let Some(Wake { keeper, .. }) = known else { return Ok(GatewayReply::Done) };
        let answer = match self.ask_living(keeper, request).await {
            Ok(answer) => answer,
            Err(_) if self.office.lives(keeper) => Err(KeeperRefusal::Unavailable),
            Err(_) => Ok(GatewayReply::Done),
        };
        if answer.is_ok() {
            held(&self.wakes).remove(&wake);
        }
        answer
    }

    async fn ask_living(&self, keeper: PeerId, request: GatewayRequest) -> Result<KeeperAnswer, Unheard> {
        let mut living = self.office.living(Role::Keeper).into_iter();
        let known = living.find(|known| known.peer() == keeper).ok_or(Unheard::Untaken)?;
        let says = written(&OfGateway::Ask(Box::new(request)));
        let answer = self.office.ask(&known, &says, ANSWER_WITHIN).await?;
        Ok(read(answer.expose()).unwrap_or(Err(KeeperRefusal::Unavailable)))
    }

    /// Every registered keeper, which of them answer by what name, and whether all who live do.
    async fn roll(&self) -> Result<(KeeperRoll, bool), ControlRefusal> {
        // One may have come since.
        if !self.office.look().await {
            return Err(ControlRefusal::Unavailable);
        }
        let says = Arc::new(written(&ControlRequest::Keepers));
        let mut asked = JoinSet::new();
        for keeper in self.office.living(Role::Keeper) {
            let (office, says) = (Arc::clone(&self.office), Arc::clone(&says));
            asked.spawn(async move { (office.ask(&keeper, &says, ROLL_WITHIN).await, keeper) });
        }
        let mut all_answered = true;
        let mut roll: Option<KeeperRoll> = None;
        let mut at_work: BTreeMap<KeeperId, Name> = BTreeMap::new();
        for (answer, keeper) in asked.join_all().await {
            let answer = answer.ok().and_then(|answer| read::<ControlAnswer>(answer.expose()));
            if let Some(Ok(ControlReply::Keepers(seen))) = answer {
                at_work.insert(seen.own, keeper.name().clone());
                // One of them may know of an era that another has yet to hear of.
                roll = roll.filter(|known| known.era >= seen.era).or(Some(seen));
            } else {
                all_answered = false;
            }
        }
        let mut roll = roll.ok_or(ControlRefusal::Unavailable)?;
        for one in &mut roll.keepers {
            one.name = at_work.get(&one.row.keeper).cloned();
            one.at_work = one.name.is_some();
        }
        Ok((roll, all_answered))
    }

    /// One that answers would register again, and nobody would be at rest. Nor is any given up while somebody lives who
    /// does not say who it is: it may be that one, busy or slow, and what only its log knows would be given up with it.
    async fn forget(&self, keeper: KeeperId, request: ControlRequest) -> ControlAnswer {
        let (roll, all_answered) = self.roll().await?;
        if roll.keepers.iter().any(|one| one.row.keeper == keeper && one.at_work) {
            return Err(ControlRefusal::KeeperAtWork);
        }
        if !all_answered {
            return Err(ControlRefusal::Unavailable);
        }
        let asked = self.of_any::<ControlAnswer>(&request, (Effect::Once, CONTROL_WITHIN)).await;
        asked.map_or(Err(ControlRefusal::Unavailable), |(_, answer)| answer)
    }

    /// Every keeper ends the wakes of a task: where one cannot be told, it is not done. One that is silent ends its own.
    async fn all_end_wakes(&self, request: ControlRequest) -> ControlAnswer {
        // One may have come since, or have been slow and be back.
        if !self.office.look().await {
            return Err(ControlRefusal::Unavailable);
        }
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
            match request {
                ControlRequest::Keepers => return Ok(ControlReply::Keepers(self.roll().await?.0)),
                ControlRequest::Forget { keeper, .. } => return self.forget(keeper, request).await,
                _ => {}
            }
            let effect = match &request {
                ControlRequest::IntakeKey | ControlRequest::Attest(_) => Effect::None,
                _ => Effect::Once,
            };
            let asked = self.of_any::<ControlAnswer>(&request, (effect, CONTROL_WITHIN)).await;
            asked.map_or(Err(ControlRefusal::Unavailable), |(_, answer)| answer)
        })
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
