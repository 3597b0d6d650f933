//! Providers, each with a temper: what it does with a refresh token that comes, and that comes again.
//!
//! Pure: it is told what arrives and when. It counts what arrived, token by token, because that and not
//! what a client believes to have sent is what a family lives or dies of.

mod served;
mod temper;
mod token;

pub use served::Issuer;
pub use temper::{Again, Reuse, Rotation, Temper};
pub use token::{Arrival, Given, Grown, Tokens, Verdict};

use token::{Access, Refresh};

use super::{dice::Dice, engine::Moment};
use std::collections::BTreeMap;

/// What a provider has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Codes that became tokens.
    pub consents: u64,
    /// Refresh tokens that came for the first time.
    pub first_presentations: u64,
    /// Refresh tokens that came again.
    pub repeats: u64,
    /// Consumed refresh tokens that came again, within a grace or not, and whether their family lives or not.
    pub consumed_again: u64,
    /// Refreshes that brought tokens.
    pub refreshed: u64,
    /// Refreshes that were refused after the token was looked at.
    pub refused: u64,
    /// Tokens that came again where that is taken for theft.
    pub reuse_detected: u64,
    /// Families that ended by that.
    pub ended_by_reuse: u64,
    /// Families that ended because their account had too many.
    pub ended_by_cap: u64,
    /// Requests that were turned away before the token was looked at.
    pub turned_away: u64,
    /// Refreshes that were done, and answered with an error all the same.
    pub done_and_denied: u64,
}

/// The provider's books.
pub struct Books {
    temper: Temper,
    dice: Dice,
    families: Vec<Grown>,
    refresh: BTreeMap<String, Refresh>,
    access: BTreeMap<String, Access>,
    codes: BTreeMap<String, String>,
    tally: Tally,
}

impl Books {
    /// Empty books.
    #[must_use]
    pub fn new(temper: Temper, dice: Dice) -> Self {
        Self {
            temper,
            dice,
            families: Vec::new(),
            refresh: BTreeMap::new(),
            access: BTreeMap::new(),
            codes: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// How it treats tokens.
    #[must_use]
    pub const fn temper(&self) -> &Temper {
        &self.temper
    }

    /// What it has counted.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Every family that it knows, ended ones too, in the order of their consents.
    #[must_use]
    pub fn families(&self) -> &[Grown] {
        &self.families
    }

    /// What arrived of each refresh token that it ever gave: family, number in it, arrivals.
    pub fn arrivals(&self) -> impl Iterator<Item = (usize, u64, &[Arrival])> {
        self.refresh.values().map(|token| (token.family, token.number, token.arrivals.as_slice()))
    }

    /// The family and number of a refresh token, and whether it is still good for a refresh.
    #[must_use]
    pub fn standing(&self, token: &str, at: Moment) -> Option<(usize, u64, bool)> {
        let known = self.refresh.get(token)?;
        let lives = self.families.get(known.family).is_some_and(|family| family.ended.is_none());
        let idle = self.temper.idle.is_some_and(|idle| at.since(known.given_at) >= idle);
        Some((known.family, known.number, lives && !idle && !known.is_dead && known.used_at.is_none()))
    }

    /// A human consents: the code that comes back by the redirect.
    pub fn consent(&mut self, account: &str) -> String {
        let code = self.secret("code");
        self.codes.insert(code.clone(), account.to_owned());
        code
    }

    /// Redeems a code, once.
    pub fn redeem(&mut self, code: &str, at: Moment) -> Verdict {
        let Some(account) = self.codes.remove(code) else { return Verdict::Refused("invalid_grant") };
        self.tally.consents += 1;
        let family = self.families.len();
        self.families.push(Grown {
            account: account.clone(),
            consented_at: at,
            ended: None,
            revoked_at: None,
            given: 0,
        });
        self.end_the_oldest(&account);
        let refresh = self.give_refresh(family, at);
        let access = self.give_access(family, at);
        Verdict::Tokens(Tokens { access, refresh: Some(refresh) })
    }

    /// The account of an access token that is still good.
    #[must_use]
    pub fn account_of(&self, access: &str, at: Moment) -> Option<&str> {
        let known = self.access.get(access).filter(|known| !known.is_dead && at < known.until)?;
        let family = self.families.get(known.family)?;
        family.ended.is_none().then_some(family.account.as_str())
    }

    /// Takes a token back (RFC 7009), and with it all that its account was ever given: some providers do so. Answers whether
    /// it was known.
    pub fn revoke(&mut self, token: &str, at: Moment) -> bool {
        let family = self.refresh.get(token).map(|known| known.family);
        let family = family.or_else(|| self.access.get(token).map(|known| known.family));
        let grown = family.and_then(|family| self.families.get(family));
        let Some(account) = grown.map(|family| family.account.clone()) else { return false };
        for family in self.families.iter_mut().filter(|family| family.account == account) {
            if family.ended.is_none() {
                (family.ended, family.revoked_at) = (Some("revoked"), Some(at));
            }
        }
        true
    }

    /// Whose families were taken back at this very moment.
    #[must_use]
    pub fn accounts_revoked_at(&self, at: Moment) -> Vec<String> {
        let now = self.families.iter().filter(|family| family.revoked_at == Some(at));
        now.map(|family| family.account.clone()).collect()
    }

    /// An administrator ends every family of an account.
    pub fn end_account(&mut self, account: &str) {
        let theirs: Vec<usize> =
            (0..self.families.len()).filter(|number| self.is_of(*number, account)).collect();
        for family in theirs {
            self.end(family, "administrator");
        }
    }

    /// A cap ends the oldest family of an account.
    fn end_the_oldest(&mut self, account: &str) {
        let Some(most) = self.temper.families_of_account else { return };
        let living: Vec<usize> = (0..self.families.len())
            .filter(|number| self.is_of(*number, account) && self.lives(*number))
            .collect();
        for family in living.iter().take(living.len().saturating_sub(most)) {
            self.end(*family, "cap");
            self.tally.ended_by_cap += 1;
        }
    }

    fn is_of(&self, family: usize, account: &str) -> bool {
        self.families.get(family).is_some_and(|family| family.account == account)
    }

    fn lives(&self, family: usize) -> bool {
        self.families.get(family).is_some_and(|family| family.ended.is_none())
    }

    fn end(&mut self, family: usize, why: &'static str) {
        if let Some(family) = self.families.get_mut(family) {
            family.ended.get_or_insert(why);
        }
    }

    /// A token as providers draw them: a name to read in a log, and enough that nobody guesses.
    fn secret(&mut self, kind: &str) -> String {
        format!("{kind}_{:016x}{:016x}", self.dice.number(), self.dice.number())
    }
}

#[cfg(test)]
mod tests;
