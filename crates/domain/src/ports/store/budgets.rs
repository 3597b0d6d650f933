//! What was spent of grants with a budget. The gateway counts; control shows.

use super::Stored;
use crate::{
    budget::Spent,
    id::{GrantId, TenantId},
};

/// The gateway's counts. A reservation counts as spent from the moment that it is given, so that no crash and no
/// second gateway spends it again.
pub trait BudgetStore: Send + Sync {
    /// Reserves as much of `more` as there is until `ends`, part by part, durably, and answers how much that is.
    ///
    /// # Errors
    /// [`super::StoreError::Missing`] where the tenant has no such grant.
    fn reserve(&self, tenant: TenantId, grant: GrantId, more: Spent, ends: Spent) -> Stored<'_, Spent>;
}
