//! Proves, tool by tool, what a request line is: ordinary ones, look-alikes of dangerous ones, and refusals.

use crate::{builtin::manifest, canonical};
use nightlatch_domain::exchange::{Target, Upgrade};

/// A route, a request line, and what it is: the operation, its effect and its resource, or `refused`.
type Row = (&'static str, &'static str, &'static str);

/// What a request line is, in one line. `WEBSOCKET /x` is a GET that asks for one.
fn told(tool: &str, route: &str, request: &str) -> String {
    let (method, target) = request.split_once(' ').unwrap();
    let (method, upgrade) = match method {
        "WEBSOCKET" => ("GET", Some(Upgrade::WebSocket)),
        method => (method, None),
    };
    let matched = canonical::target(method, target)
        .ok()
        .map(|target| Target { upgrade, ..target })
        .and_then(|target| manifest(tool).unwrap().matched(route, &target).ok());
    let Some(matched) = matched else { return "refused".to_owned() };
    let resource = matched.resource.map(|resource| format!(" @{resource}")).unwrap_or_default();
    format!("{} {}{resource}", matched.operation, matched.effect)
}

fn holds(tool: &str, rows: &[Row]) {
    assert!(rows.len() >= 6, "{tool}");
    for (route, request, wanted) in rows {
        assert_eq!(told(tool, route, request), *wanted, "{tool}: {request}");
    }
}

#[test]
fn anthropic_requests_are_told_apart() {
    holds(
        "anthropic",
        &[
            ("", "POST /v1/messages", "messages.create write"),
            ("", "GET /v1/models", "models.list read"),
            ("", "GET /v1/Models", "unlisted admin"),
            ("", "GET /v1/models/", "unlisted admin"),
            ("", "POST /v1/organizations/API_keys/x", "unlisted credential"),
            ("", "GET /v1//messages", "refused"),
        ],
    );
}

#[test]
fn generic_requests_go_by_method() {
    holds(
        "generic",
        &[
            ("", "GET /x", "unlisted read"),
            ("", "HEAD /x", "unlisted read"),
            ("", "POST /x", "unlisted write"),
            ("", "DELETE /x", "unlisted write"),
            ("", "GET /x/", "unlisted read"),
            ("", "GET /", "unlisted read"),
            ("", "WEBSOCKET /x/y", "websocket.open write"),
            ("", "GET /x/../y", "refused"),
            ("", "TRACE /x", "refused"),
            ("git", "GET /x", "refused"),
        ],
    );
}

#[test]
fn github_requests_are_told_apart() {
    holds(
        "github",
        &[
            ("", "GET /repos/Acme/X", "repos.get read @acme/x"),
            ("", "DELETE /repos/acme/x", "repos.delete destructive @acme/x"),
            ("", "POST /repos/acme/x/Keys", "unlisted credential"),
            ("", "POST /repos/acme/x/keys.json", "unlisted credential"),
            ("", "POST /graphql", "graphql admin"),
            ("", "GET /repos/acme%2fx", "refused"),
            ("git", "POST /acme/x.git/git-receive-pack", "git.push write @acme/x"),
            ("git", "GET /acme/x.git/info/refs?service=git-upload-pack&service=git-receive-pack", "refused"),
        ],
    );
}

#[test]
fn gitlab_requests_are_told_apart() {
    holds(
        "gitlab",
        &[
            ("", "GET /api/v4/user", "user.get read"),
            ("", "GET /api/v4/projects/7", "projects.get read @7"),
            ("", "GET /api/v4/projects/007", "refused"),
            ("", "GET /api/v4/projects/acme%2Fx", "refused"),
            ("", "GET /api/v4/Projects/7", "unlisted admin"),
            ("git", "POST /acme/team/x.git/git-upload-pack", "git.fetch-2 read @acme/team/x"),
        ],
    );
}

#[test]
fn gmail_requests_are_told_apart() {
    holds(
        "gmail",
        &[
            ("", "GET /gmail/v1/users/me/messages?q=is:unread", "messages.list read"),
            ("", "GET /gmail/v1/users/me/messages/18c", "messages.get read"),
            ("", "POST /gmail/v1/users/me/messages/send", "messages.send destructive"),
            (
                "",
                "POST /upload/gmail/v1/users/me/messages/send?uploadType=media",
                "messages.send destructive",
            ),
            ("", "POST /gmail/v1/users/me/drafts/send", "drafts.send destructive"),
            ("", "POST /gmail/v1/users/me/drafts", "drafts.create write"),
            ("", "POST /gmail/v1/users/me/messages/18c/trash", "messages.trash write"),
            ("", "POST /gmail/v1/users/me/messages/batchDelete", "messages.batch-delete destructive"),
            ("", "DELETE /gmail/v1/users/me/messages/18c", "messages.delete destructive"),
            ("", "PUT /gmail/v1/users/me/settings/autoForwarding", "settings.change admin"),
            ("", "POST /gmail/v1/users/me/settings/filters", "filters.change admin"),
            ("", "POST /gmail/v1/users/me/settings/delegates", "delegates.change admin"),
            ("", "POST /gmail/v1/users/me/settings/forwardingAddresses", "forwarding.change admin"),
            ("", "POST /gmail/v1/users/me/watch", "push.change admin"),
            ("", "GET /gmail/v1/users/me/settings/sendAs/a@example.com/smimeInfo", "smime.any credential"),
            (
                "",
                "POST /gmail/v1/users/me/settings/cse/keypairs/k:obliterate",
                "encryption-keys.any credential",
            ),
            ("", "GET /gmail/v1/users/me/settings/CSE/keypairs", "unlisted credential"),
            ("", "POST /batch/gmail/v1", "batch admin"),
            ("", "POST /gmail/v1/users/me/messages/Send", "unlisted admin"),
            ("", "POST /gmail/v1/users/me/messages/send/", "unlisted admin"),
            ("", "POST /gmail/v1/users/me%2fmessages/send", "refused"),
        ],
    );
}

#[test]
fn google_drive_requests_are_told_apart() {
    holds(
        "google-drive",
        &[
            ("", "GET /drive/v3/files?q=name='x'", "files.list read"),
            ("", "GET /drive/v3/files/1AbC?alt=media", "files.get read @1AbC"),
            ("", "GET /drive/v3/files/generateIds", "files.generate-ids read"),
            ("", "PATCH /drive/v3/files/1AbC", "files.update write @1AbC"),
            ("upload", "POST /upload/drive/v3/files?uploadType=multipart", "files.upload write"),
            ("", "DELETE /drive/v3/files/1AbC", "files.delete destructive @1AbC"),
            ("", "POST /drive/v3/changes/watch", "changes.watch admin"),
            ("", "POST /drive/v3/channels/stop", "channels.stop admin"),
            ("", "POST /drive/v3/drives?requestId=1", "drives.change admin"),
            ("", "DELETE /drive/v3/files/trash", "files.empty-trash destructive"),
            ("", "DELETE /drive/v3/files/Trash", "unlisted admin"),
            ("", "POST /drive/v3/files/1AbC/permissions", "permissions.change admin @1AbC"),
            ("", "POST /drive/v3/files/1AbC/watch", "files.watch admin @1AbC"),
            ("", "PATCH /drive/v3/files/1AbC/revisions/1", "revisions.publish admin @1AbC"),
            ("", "POST /batch/drive/v3", "unlisted admin"),
            ("", "POST /drive/v3/files/1AbC/accessproposals/1:resolve", "unlisted admin"),
            ("", "GET /drive/v3/files/a/../b", "refused"),
        ],
    );
}

#[test]
fn jira_requests_are_told_apart() {
    holds(
        "jira",
        &[
            ("", "GET /rest/api/3/issue/ACME-1", "issues.get read @issue/acme-1"),
            ("", "GET /rest/api/2/issue/acme-1", "issues.get read @issue/acme-1"),
            ("", "GET /rest/api/latest/issue/10002", "issues.get read @issue/10002"),
            ("", "POST /rest/api/3/search/jql", "issues.search read"),
            ("", "POST /rest/api/3/issue", "issues.create write"),
            ("", "POST /rest/api/3/issue/ACME-1/transitions", "issues.transition write @issue/acme-1"),
            ("", "POST /rest/api/3/issue/ACME-1/notify", "issues.notify destructive @issue/acme-1"),
            ("", "DELETE /rest/api/3/issue/ACME-1", "issues.delete destructive @issue/acme-1"),
            ("", "GET /rest/api/3/project/search", "projects.list read"),
            ("", "GET /rest/api/3/project/ACME", "projects.get read @project/acme"),
            ("", "POST /rest/api/3/bulk/issues/delete", "bulk.change admin"),
            ("", "POST /rest/api/3/webhook", "webhooks.any admin"),
            ("", "POST /rest/api/3/user", "users.change admin"),
            ("", "POST /rest/api/3/group/user?groupId=1", "groups.change admin"),
            ("", "POST /rest/api/3/project/ACME/role/10", "project-roles.change admin @project/acme"),
            ("", "POST /gateway/api/graphql", "graphql admin"),
            ("", "POST /rest/auth/1/session", "session.any credential"),
            ("", "POST /rest/auth/1/Session", "unlisted credential"),
            ("", "PUT /rest/api/3/permissionscheme/1", "unlisted admin"),
            ("", "GET /rest/api/3/issue/010", "refused"),
            (
                "cloud",
                "GET /ex/jira/5a-b/rest/api/3/issue/ACME-1",
                "cloud.issues.get read @5a-b/issue/acme-1",
            ),
            ("cloud", "POST /graphql", "cloud.graphql admin"),
            ("cloud", "GET /ex/confluence/5a-b/rest/api/content", "unlisted admin"),
        ],
    );
}

#[test]
fn linear_requests_are_told_apart() {
    holds(
        "linear",
        &[
            ("", "POST /graphql", "graphql admin"),
            ("", "GET /graphql?query={viewer{id}}", "graphql admin"),
            ("", "POST /GraphQL", "unlisted credential"),
            ("", "POST /oauth/token", "oauth.token credential"),
            ("", "POST /oauth/revoke/", "unlisted credential"),
            ("", "POST /mcp", "unlisted admin"),
            ("uploads", "GET /1f/2e/3d", "files.get read"),
            ("uploads", "POST /1f/2e/3d", "unlisted admin"),
        ],
    );
}

#[test]
fn microsoft_graph_requests_are_told_apart() {
    holds(
        "microsoft-graph",
        &[
            ("", "GET /v1.0/me", "me.get read"),
            ("", "GET /v1.0/me/messages?$top=5", "messages.list read"),
            ("", "GET /v1.0/users/dana@example.com/messages/AAk", "messages.get read"),
            ("", "POST /v1.0/me/sendMail", "mail.send destructive"),
            ("", "POST /v1.0/me/messages/AAk/forward", "messages.answer destructive"),
            ("", "POST /v1.0/me/messages/AAk/permanentDelete", "messages.delete-for-good destructive"),
            ("", "POST /v1.0/me/events/AAk/cancel", "events.cancel destructive"),
            ("", "GET /v1.0/drives/b!1/items/01A/permissions", "items.permissions admin @b!1/01A"),
            ("", "GET /v1.0/me/drive/items/01A/permissions", "my-items.permissions admin"),
            ("", "POST /v1.0/drives/b!1/items/01A/invite", "items.share admin @b!1/01A"),
            ("", "POST /v1.0/me/messages/AAk/microsoft.graph.send", "unlisted admin"),
            ("", "POST /v1.0/me/mailFolders/inbox/messageRules", "rules.change admin"),
            ("", "PATCH /v1.0/me/mailboxSettings", "mailbox-settings.change admin"),
            ("", "GET /v1.0/drives/b!1/items/01A/content", "items.content read @b!1/01A"),
            ("", "GET /v1.0/me/drive/root/search(q='plan')", "items.search read"),
            ("", "PUT /v1.0/me/drive/items/01A:/plan.txt:/content", "items.upload-new write"),
            ("", "POST /v1.0/me/drive/items/01A/createLink", "my-items.share admin"),
            ("", "GET /v1.0/me/drive/root:/plan.txt", "unlisted admin"),
            ("", "POST /v1.0/$batch", "batch admin"),
            ("", "POST /v1.0/subscriptions", "subscriptions.any admin"),
            ("", "PATCH /v1.0/users/dana@example.com", "users.change credential"),
            ("", "PATCH /v1.0/users('dana')", "users.change credential"),
            ("", "POST /v1.0/users('dana')/changePassword", "users.keyed credential"),
            ("", "POST /v1.0/me/changePassword", "users.password credential"),
            ("", "POST /v1.0/me/microsoft.graph.changePassword", "users.password credential"),
            ("", "POST /v1.0/me/CHANGEPASSWORD", "unlisted credential"),
            ("", "GET /v1.0/users/dana/authentication/methods", "users.authentication credential"),
            ("", "GET /v1.0/users('dana')/authentication/methods", "users.keyed-authentication credential"),
            ("", "POST /v1.0/applications/1/addPassword", "applications.change credential"),
            ("", "POST /v1.0/applications(appId='1')/addPassword", "applications.change credential"),
            ("", "POST /v1.0/servicePrincipals/1/microsoft.graph.addKey", "applications.change credential"),
            ("", "POST /v1.0/groups/1/members/$ref", "unlisted admin"),
            ("", "GET /v1.0/me/messages/..%2fx", "refused"),
        ],
    );
}

#[test]
fn notion_requests_are_told_apart() {
    const PAGE: &str = "pages.get read @2f26ee68-df30-4251-aad4-8ddc420cba3d";
    holds(
        "notion",
        &[
            ("", "GET /v1/pages/2f26ee68-df30-4251-aad4-8ddc420cba3d", PAGE),
            ("", "GET /v1/pages/2f26ee68df304251aad48ddc420cba3d", PAGE),
            ("", "GET /v1/pages/2F26EE68DF304251AAD48DDC420CBA3D", PAGE),
            ("", "POST /v1/search", "search read"),
            ("", "POST /v1/data_sources/d1/query", "data-sources.query read @d1"),
            ("", "POST /v1/data_sources/d1/Query", "unlisted admin"),
            ("", "PATCH /v1/blocks/b1/children", "blocks.append write @b1"),
            ("", "DELETE /v1/blocks/b1", "blocks.delete destructive @b1"),
            ("", "POST /v1/oauth/token", "oauth.token credential"),
            ("", "POST /v1/oauth/Revoke", "unlisted credential"),
            ("", "POST /v1/agents/a1/chat", "unlisted admin"),
            ("", "GET /v1/pages/%2e%2e/users", "refused"),
        ],
    );
}

#[test]
fn openai_requests_are_told_apart() {
    holds(
        "openai",
        &[
            ("", "POST /v1/responses", "responses.create write"),
            ("", "GET /v1/models/gpt-x", "models.get read"),
            ("", "DELETE /v1/models/gpt-x", "models.delete destructive"),
            ("", "POST /v1/batches", "batches.create admin"),
            ("", "POST /v1/organization/Admin_API_Keys", "unlisted credential"),
            ("", "POST /v1/responses/", "unlisted admin"),
            ("", "GET /v1/models%5cx", "refused"),
            ("", "WEBSOCKET /v1/realtime?model=gpt-realtime", "realtime.connect write"),
            ("", "WEBSOCKET /v1/responses", "responses.connect write"),
            ("", "GET /v1/realtime", "unlisted admin"),
            ("", "WEBSOCKET /v1/Realtime", "refused"),
            ("", "WEBSOCKET /v1/models", "refused"),
        ],
    );
}

#[test]
fn salesforce_requests_are_told_apart() {
    holds(
        "salesforce",
        &[
            ("", "GET /services/data/v62.0/query?q=SELECT+Id+FROM+Account", "query read"),
            ("", "GET /services/data/v62.0/sobjects/Account/001", "records.get read @account"),
            ("", "POST /services/data/v62.0/sobjects/Account", "records.create write"),
            ("", "POST /services/data/v62.0/sobjects/Account/", "records.create write"),
            ("", "POST /services/data/v62.0/sobjects/Invoice__c/", "records.create write"),
            ("", "POST /services/data/v62.0/sobjects/User/", "unlisted admin"),
            ("", "GET /services/data/v62.0/sobjects/Account/", "objects.describe read @account"),
            ("", "PATCH /services/data/v62.0/sobjects/Invoice__c/a01", "records.update write"),
            ("", "DELETE /services/data/v62.0/sobjects/Lead/00Q", "records.delete destructive"),
            ("", "POST /services/data/v62.0/sobjects/User", "objects.change admin @user"),
            (
                "",
                "POST /services/data/v62.0/sobjects/PermissionSetAssignment",
                "objects.change admin @permissionsetassignment",
            ),
            ("", "POST /services/data/v62.0/sobjects/account", "unlisted admin"),
            ("", "POST /services/data/v62.0/sobjects/User/005/password", "passwords.any credential"),
            ("", "POST /services/data/v62.0/sobjects/user/005/Password", "unlisted credential"),
            ("", "GET /services/data/v62.0/sobjects/AuthSession/0Ak", "secret-objects.any credential"),
            ("", "GET /services/data/v62.0/sobjects/authsession/0Ak", "unlisted credential"),
            ("", "POST /services/data/v62.0/composite/batch", "composite admin"),
            ("", "POST /services/data/v62.0/graphql", "graphql admin"),
            ("", "POST /services/data/v62.0/jobs/ingest", "jobs admin"),
            ("", "GET /services/apexrest/anything", "apex admin"),
            ("", "GET /services/data/v62.0/named-credentials/credential", "named-credentials.any credential"),
            ("", "GET /services/data/v62.0/tooling/executeAnonymous/?anonymousBody=x", "tooling admin"),
            ("", "POST /services/data/v62.0/actions/standard/emailSimple", "actions admin"),
            ("", "GET /services/oauth2/userinfo", "userinfo.get read"),
            ("", "POST /services/oauth2/token", "oauth.any credential"),
            ("", "POST /services/oauth2/singleaccess", "oauth.any credential"),
            ("", "POST /services/Soap/u/62.0", "soap.any credential"),
            ("", "GET /services/data/v62.0/sobjects/Account/%2e%2e/User", "refused"),
        ],
    );
}

#[test]
fn slack_requests_are_told_apart() {
    holds(
        "slack",
        &[
            ("", "GET /api/chat.postMessage", "chat.postMessage write"),
            ("", "POST /api/conversations.history", "conversations.history read"),
            ("", "POST /api/chat.delete", "chat.delete destructive"),
            ("", "POST /api/Auth.Revoke", "unlisted credential"),
            ("", "POST /api/admin.users.remove", "unlisted admin"),
            ("", "GET /api/./auth.test", "refused"),
        ],
    );
}

#[test]
fn stripe_requests_are_told_apart() {
    holds(
        "stripe",
        &[
            ("", "GET /v1/customers/cus_1", "customers.get read @customer/cus_1"),
            ("", "GET /v1/customers/search?query=x", "customers.list read"),
            ("", "POST /v1/customers", "customers.create write"),
            ("", "POST /v1/refunds", "refunds.change destructive"),
            ("", "POST /v1/payment_intents/pi_1/confirm", "payment-intents.change destructive"),
            ("", "POST /v1/invoices/in_1/pay", "invoices.settle destructive"),
            ("", "DELETE /v1/subscriptions/sub_1", "subscriptions.change destructive"),
            ("", "POST /v1/payouts", "payouts.change destructive"),
            ("", "POST /v1/disputes/dp_1/close", "disputes.change destructive"),
            ("", "POST /v1/file_links", "file-links.change admin"),
            ("", "POST /v2/core/event_destinations", "event-destinations.any credential"),
            (
                "",
                "GET /v2/core/event_destinations/ed_1?include[]=webhook_endpoint.signing_secret",
                "event-destinations.any credential",
            ),
            ("", "GET /v1/webhook_endpoints", "webhooks.look admin"),
            ("", "POST /v1/webhook_endpoints", "webhooks.change credential"),
            ("", "POST /v1/Webhook_Endpoints", "unlisted credential"),
            ("", "POST /v1/ephemeral_keys", "ephemeral-keys.any credential"),
            ("", "POST /v1/billing_portal/sessions", "sessions.create credential"),
            ("", "GET /v1/issuing/cards/ic_1?expand[]=number", "cards.any credential"),
            ("", "POST /v1/accounts/acct_1/login_links", "sessions.create credential"),
            ("", "POST /v1/accounts/acct_1", "unlisted admin"),
            ("", "GET /v1/customers/a%2Fb", "refused"),
            ("files", "GET /v1/files/file_1/contents", "files.content read"),
        ],
    );
}
