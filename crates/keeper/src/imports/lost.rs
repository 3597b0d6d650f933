//! What follows where a token was presented and no answer is known: what a crash left, what a network swallowed.

use super::plan::Opened;
use crate::{
    core::Core,
    machine::Moment,
    second::{Intended, Presented, Second},
    spool::Asked,
};
use nightlatch_domain::import::Import;
use std::{sync::Arc, time::Duration};

/// A presentation of another keeper that was seen unchanged for so long is nobody's any more.
pub(super) const OTHER_GONE: Duration = Duration::from_secs(600);
/// The pause before a retry inside a grace.
const PAUSE: Duration = Duration::from_secs(2);
/// And while one clock alone says that there is time for one.
const PAUSE_IN_DOUBT: Duration = Duration::from_secs(15);
/// And before one without: whoever still works on the first one has answered or given up.
const PAUSE_LAST: Duration = Duration::from_secs(60);

/// What follows.
pub(super) enum Follows {
    /// The answer is here: it was spooled.
    Answered,
    /// It was never sent: it is presented as if nothing had been.
    NotSent,
    /// It is presented once more, now; inside the grace that began with this, where there is one.
    Again(Option<Presented>),
    /// It may be presented once more, after this.
    AgainAfter(Duration),
    /// What is spooled cannot be read: whether there is an answer nobody knows.
    Unreadable,
    /// Only a new login helps.
    Nothing,
}

/// What follows on a presentation whose answer is not in the database.
pub(super) async fn follows(core: &Arc<Core>, import: &Import, opened: &Opened) -> Follows {
    let asked = Asked::Flow(import.id);
    let spooled = core.on_disk(move |core| core.spool.answer(asked)).await;
    match spooled {
        Ok(Some(_)) => return Follows::Answered,
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(%error, import = %import.id, "the room for an answer could not be read");
            return Follows::Unreadable;
        }
    }
    let progress = &import.progress;
    let log = &core.anchor;
    let of_it = |one: crate::anchor::Presentation| Some(one.attempt) == progress.attempt;
    let (first, retry) = (log.presentation(opened.mark.family, 0), log.retry(opened.mark.family, 0));
    let known = first.is_some_and(of_it) || retry.is_some_and(of_it);
    let is_ours = progress.owner.is_some_and(|owner| log.drew(owner));
    if is_ours && !known && !progress.again && first.is_none() {
        return Follows::NotSent;
    }
    let of_another = first.is_some() && !known;
    // In a later era nobody knows whether the one retry was spent.
    let is_older = import.era != core.history.era();
    if progress.again || retry.is_some() || of_another || is_older {
        return Follows::Nothing;
    }
    // The attempt's id was drawn by this keeper's wall clock, directly before.
    let sent = first.and_then(|first| Some(Moment { wall: first.attempt.time(), boot: first.boot? }));
    again(core, import, opened, sent).await
}

async fn again(core: &Arc<Core>, import: &Import, opened: &Opened, sent: Option<Moment>) -> Follows {
    let Some(at) = import.progress.presented_at else { return Follows::Nothing };
    let (second, now) = (Second::of(&opened.profile), core.now());
    let Ok(store) = core.store().clock().await else { return Follows::AgainAfter(PAUSE_IN_DOUBT) };
    let by = sent.map_or(at, |sent| sent.wall.max(at));
    let first = Presented::reckoned(Intended { at, by, sent }, now, store);
    let elapsed = first.elapsed(now);
    if second.left(first, now).is_some() {
        return wait(elapsed.unwrap_or_default(), PAUSE, Some(first));
    }
    if second.is_in_doubt(first, now) {
        return Follows::AgainAfter(PAUSE_IN_DOUBT);
    }
    // Nothing lives of it that could be lost: the one retry is all there is to try.
    if second.last { wait(now.wall.since(at), PAUSE_LAST, None) } else { Follows::Nothing }
}

fn wait(elapsed: Duration, pause: Duration, inside: Option<Presented>) -> Follows {
    match pause.checked_sub(elapsed) {
        Some(left) if !left.is_zero() => Follows::AgainAfter(left),
        _ => Follows::Again(inside),
    }
}
