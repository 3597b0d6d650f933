//! The manifests and profiles that come with the program, and the catalogue that holds them beside an
//! operator's own.

use crate::{manifest::Manifest, profile::Profile, reading::FileError};
use nightlatch_domain::tool::Name;
use std::collections::BTreeMap;

macro_rules! embedded {
    ($folder:literal: $($name:literal),*) => {
        &[$(($name, concat!($folder, "/", $name, ".toml"), include_str!(concat!("../", $folder, "/", $name, ".toml")))),*]
    };
}

/// Name, file and text of each manifest.
const MANIFESTS: &[(&str, &str, &str)] = embedded!("manifests": "anthropic", "generic", "github", "gitlab", "gmail", "google-drive", "jira", "linear", "microsoft-graph", "notion", "openai", "salesforce", "slack", "stripe");

/// Name, file and text of each profile.
const PROFILES: &[(&str, &str, &str)] = embedded!("profiles":
    "adobe-sign", "airtable", "asana", "atlassian", "auth0", "bitbucket", "box", "cognito", "coinbase",
    "commercetools", "datto", "docusign", "dropbox", "epic", "exact-online", "fitbit",
    "follow-up-boss", "generic", "github", "gitlab", "google", "hubspot", "intuit", "kintone",
    "linear", "linkedin", "make", "meta", "microsoft", "miro", "netsuite", "notion", "okta", "payfit",
    "pingfederate", "pinterest", "salesforce", "servicenow", "shopify", "slack", "smartcar",
    "stackexchange", "stripe", "synapse", "toast", "twinfield", "x", "xero", "zendesk", "zoho", "zoom"
);

/// A built-in manifest by name; none where there is none.
#[must_use]
pub fn manifest(name: &str) -> Option<Manifest> {
    let (_, file, text) = MANIFESTS.iter().find(|(own, _, _)| *own == name)?;
    Manifest::parse(file, text).ok()
}

/// A built-in profile by name; none where there is none.
#[must_use]
pub fn profile(name: &str) -> Option<Profile> {
    let (_, file, text) = PROFILES.iter().find(|(own, _, _)| *own == name)?;
    Profile::parse(file, text).ok()
}

/// Every tool and provider that is known: the built-in ones and an operator's own.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    manifests: BTreeMap<Name, Manifest>,
    profiles: BTreeMap<Name, Profile>,
}

/// Why something cannot join the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// A file is wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// The name is taken.
    #[error("there is already a {kind} `{name}`: give yours another `name`")]
    Taken {
        /// `tool` or `profile`.
        kind: &'static str,
        /// Its name.
        name: Name,
    },
    /// A manifest names a profile that is not there.
    #[error("the tool `{tool}` names the profile `{profile}`, which is not known: add the profile first")]
    NoProfile {
        /// The tool.
        tool: Name,
        /// The profile.
        profile: Name,
    },
}

impl Catalogue {
    /// The built-in tools and profiles.
    ///
    /// # Errors
    /// [`CatalogueError`] where a built-in file is wrong, which a test of this crate rules out.
    pub fn builtin() -> Result<Self, CatalogueError> {
        let mut catalogue = Self::default();
        for (_, file, text) in PROFILES {
            catalogue.add_profile(Profile::parse(file, text)?)?;
        }
        for (_, file, text) in MANIFESTS {
            catalogue.add_manifest(Manifest::parse(file, text)?)?;
        }
        Ok(catalogue)
    }

    /// Adds a tool. Its profile must be there.
    ///
    /// # Errors
    /// [`CatalogueError`]: the name is taken, or the profile is not known.
    pub fn add_manifest(&mut self, manifest: Manifest) -> Result<(), CatalogueError> {
        if self.manifests.contains_key(&manifest.name) {
            return Err(CatalogueError::Taken { kind: "tool", name: manifest.name });
        }
        match &manifest.profile {
            Some(profile) if !self.profiles.contains_key(profile) => {
                Err(CatalogueError::NoProfile { tool: manifest.name.clone(), profile: profile.clone() })
            }
            _ => {
                self.manifests.insert(manifest.name.clone(), manifest);
                Ok(())
            }
        }
    }

    /// Adds a provider's profile.
    ///
    /// # Errors
    /// [`CatalogueError`]: the name is taken.
    pub fn add_profile(&mut self, profile: Profile) -> Result<(), CatalogueError> {
        if self.profiles.contains_key(&profile.name) {
            return Err(CatalogueError::Taken { kind: "profile", name: profile.name });
        }
        self.profiles.insert(profile.name.clone(), profile);
        Ok(())
    }

    /// The manifest of a tool.
    #[must_use]
    pub fn manifest(&self, tool: &Name) -> Option<&Manifest> {
        self.manifests.get(tool)
    }

    /// The profile of that name.
    #[must_use]
    pub fn profile(&self, name: &Name) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// The profile of a tool's provider.
    #[must_use]
    pub fn profile_of(&self, tool: &Name) -> Option<&Profile> {
        self.profile(self.manifest(tool)?.profile.as_ref()?)
    }

    /// All manifests, by name.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.values()
    }

    /// All profiles, by name.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values()
    }
}

#[cfg(test)]
mod tests;
