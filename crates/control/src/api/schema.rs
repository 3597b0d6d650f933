//! How a body describes itself, so that the API's document is made from the types and never by hand.
//!
//! [`dto!`](crate::api::schema::dto) writes a struct together with its description; nothing can be added
//! to the one and forgotten in the other.

use super::OneTime;
use nightlatch_domain::{
    budget::Budget,
    clock::Timestamp,
    grant::GrantText,
    id::{
        CallId, ClientId, ConnectionId, EnrolmentId, FlowId, GrantId, KeeperId, PrincipalId, TaskId,
        TenantId, TicketId, WakeId,
    },
    sealed::{ClientAuth, Sealed, SealingKey},
    task::Egress,
    tool::Name,
};
use serde_json::{Map, Value, json};

/// A type that can say what it looks like in JSON.
pub(crate) trait Described {
    /// Whether a field of this type must be there.
    const REQUIRED: bool = true;
    /// The JSON Schema; a named type puts its own under `definitions` and answers a reference to it.
    fn schema(definitions: &mut Map<String, Value>) -> Value;
}

/// Structs that are bodies, with their descriptions.
macro_rules! dto {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)* })*) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $field_doc])+ pub $field: $type,)*
        }

        impl $crate::api::schema::Described for $name {
            fn schema(definitions: &mut serde_json::Map<String, serde_json::Value>) -> serde_json::Value {
                $crate::api::schema::named(stringify!($name), concat!($($doc),+), definitions, |_definitions| vec![
                    $((
                        stringify!($field),
                        concat!($($field_doc),+),
                        <$type as $crate::api::schema::Described>::REQUIRED,
                        <$type as $crate::api::schema::Described>::schema(_definitions),
                    ),)*
                ])
            }
        }
    )*};
}
pub(crate) use dto;

/// One field: name, what it is, whether it must be there, schema.
type Field = (&'static str, &'static str, bool, Value);

/// Puts an object's schema under its name, once, and answers a reference to it.
pub(crate) fn named(
    name: &str,
    about: &str,
    definitions: &mut Map<String, Value>,
    fields: impl FnOnce(&mut Map<String, Value>) -> Vec<Field>,
) -> Value {
    if !definitions.contains_key(name) {
        definitions.insert(name.to_owned(), Value::Null);
        let fields = fields(definitions);
        definitions.insert(name.to_owned(), object(about, fields));
    }
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn object(about: &str, fields: Vec<Field>) -> Value {
    let required: Vec<&str> = fields.iter().filter(|field| field.2).map(|field| field.0).collect();
    let properties =
        fields.into_iter().map(|(name, about, _, schema)| (name.to_owned(), described(about, schema)));
    let properties: Map<String, Value> = properties.collect();
    json!({
        "type": "object",
        "description": about.trim(),
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

/// OpenAPI 3.1 takes JSON Schema 2020-12, where a description may stand beside `$ref`.
fn described(about: &str, mut schema: Value) -> Value {
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), Value::String(about.trim().to_owned()));
    }
    schema
}

macro_rules! plain {
    ($($type:ty => $schema:tt;)*) => {$(
        impl Described for $type {
            fn schema(_: &mut Map<String, Value>) -> Value {
                json!($schema)
            }
        }
    )*};
}

plain! {
    String => { "type": "string" };
    OneTime => { "type": "string", "format": "password" };
    Name => { "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,39}$" };
    Budget => { "type": "string", "format": "budget" };
    GrantText => { "type": "string", "format": "grant" };
    bool => { "type": "boolean" };
    u16 => { "type": "integer", "minimum": 0, "maximum": 65535 };
    u32 => { "type": "integer", "minimum": 0 };
    u64 => { "type": "integer", "minimum": 0 };
    Timestamp => { "type": "integer", "format": "unix-milliseconds" };
    Value => {};
    Egress => { "enum": ["tools", "open"] };
    ClientAuth => { "enum": ["none", "client_secret_basic", "client_secret_post"] };
    Sealed => {
        "type": "object", "required": ["recipient", "encapsulated", "ciphertext"],
        "properties": {
            "recipient": { "type": "string" },
            "encapsulated": { "type": "string" },
            "ciphertext": { "type": "string" }
        }
    };
    SealingKey => {
        "type": "object", "required": ["id", "public"],
        "properties": { "id": { "type": "string" }, "public": { "type": "string" } }
    };
}

macro_rules! ids {
    ($($type:ident)*) => {$(
        impl Described for $type {
            fn schema(_: &mut Map<String, Value>) -> Value {
                json!({ "type": "string", "pattern": format!("^{}[0-9A-HJKMNP-TV-Z]{{26}}$", Self::PREFIX) })
            }
        }
    )*};
}

ids! { CallId ClientId ConnectionId EnrolmentId FlowId GrantId KeeperId PrincipalId TaskId TenantId TicketId WakeId }

impl<T: Described> Described for Option<T> {
    const REQUIRED: bool = false;
    fn schema(definitions: &mut Map<String, Value>) -> Value {
        json!({ "anyOf": [T::schema(definitions), { "type": "null" }] })
    }
}

impl<T: Described> Described for Vec<T> {
    fn schema(definitions: &mut Map<String, Value>) -> Value {
        json!({ "type": "array", "items": T::schema(definitions) })
    }
}
