//! Presentations as they lie in memory: a million and more, so nothing of one is there twice, and nothing is padding.

use super::{record::Presentation, rows::Rows};
use nightlatch_domain::{
    clock::Boot,
    id::{AttemptId, ChainId, FamilyId, TenantId},
};

/// No boot clock was told. No machine is up for so long.
const UNTOLD: u64 = u64::MAX;

/// Whose presentation it is, of which generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(Rust, packed(8))]
pub(super) struct Which {
    family: FamilyId,
    generation: u64,
}

/// The rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(Rust, packed(8))]
struct Rest {
    tenant: TenantId,
    chain: ChainId,
    attempt: AttemptId,
    boot: u64,
}

/// Presentations, the latest of each generation.
#[derive(Debug, Default)]
pub(super) struct Presentations(Rows<Which, Rest>);

impl Presentations {
    pub(super) fn insert(&mut self, one: Presentation) {
        let Presentation { tenant, chain, family, generation, attempt, boot } = one;
        let boot = boot.map_or(UNTOLD, Boot::millis);
        self.0.insert(Which { family, generation }, Rest { tenant, chain, attempt, boot });
    }

    pub(super) fn get(&self, family: FamilyId, generation: u64) -> Option<Presentation> {
        let which = Which { family, generation };
        self.0.get(&which).map(|rest| whole(&which, rest))
    }

    pub(super) fn has(&self, family: FamilyId, generation: u64) -> bool {
        self.0.get(&Which { family, generation }).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Presentation> {
        self.0.iter().map(|(which, rest)| whole(which, rest))
    }

    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&Presentation) -> bool) {
        self.0.retain(|which, rest| is_kept(&whole(which, rest)));
    }

    /// Takes those of an attempt away.
    pub(super) fn void(&mut self, attempt: AttemptId) {
        self.0.retain(|_, rest| { rest.attempt } != attempt);
    }

    /// What a boot clock said of them no longer counts.
    pub(super) fn forget_boots(&mut self) {
        self.0.values_mut().for_each(|rest| rest.boot = UNTOLD);
    }
}

fn whole(which: &Which, rest: &Rest) -> Presentation {
    let (Which { family, generation }, Rest { tenant, chain, attempt, boot }) = (*which, *rest);
    let boot = Some(boot).filter(|boot| *boot != UNTOLD).map(Boot::from_millis);
    Presentation { tenant, chain, family, generation, attempt, boot }
}

#[cfg(test)]
mod tests {
    //! A presentation comes out as it went in, and takes no more room than was counted on.

    use super::{Presentations, Rest, Which};
    use crate::anchor::Presentation;
    use nightlatch_domain::{
        clock::{Boot, Timestamp},
        id::{AttemptId, ChainId, FamilyId, TenantId},
    };

    fn one(generation: u64, attempt: u8, boot: Option<u64>) -> Presentation {
        let at = Timestamp::from_millis(1);
        Presentation {
            tenant: TenantId::new(at, [1; 10]),
            chain: ChainId::new(at, [2; 10]),
            family: FamilyId::new(at, [3; 10]),
            generation,
            attempt: AttemptId::new(at, [attempt; 10]),
            boot: boot.map(Boot::from_millis),
        }
    }

    #[test]
    fn a_presentation_comes_out_as_it_went_in_until_its_attempt_is_void() {
        let all = [one(1, 1, Some(0)), one(2, 2, None), one(3, 3, Some(77)), one(4, 2, Some(5))];
        let mut kept = Presentations::default();
        all.into_iter().for_each(|one| kept.insert(one));
        assert!(kept.iter().eq(all));
        assert_eq!(kept.get(all[2].family, 3), Some(all[2]));
        kept.void(all[1].attempt);
        assert!(
            kept.iter().eq([all[0], all[2]]) && kept.has(all[0].family, 1) && !kept.has(all[0].family, 2)
        );
        kept.forget_boots();
        assert!(kept.iter().eq([one(1, 1, None), one(3, 3, None)]));
        kept.retain(|one| one.generation > 1);
        assert!(kept.iter().eq([one(3, 3, None)]));
    }

    #[test]
    fn a_million_take_eighty_megabytes() {
        assert_eq!(size_of::<Which>() + size_of::<Rest>(), 80);
    }
}
