//! Where state changes are told, and what became of them.

use legwork_domain::{
    Delivery, DeliveryId, DeliveryList, Webhook, WebhookChange, WebhookCreated, WebhookId, WebhookList,
    WebhookRequest, WebhookRotation,
};

use crate::{Client, Error};

impl Client {
    /// Makes a webhook; the answer is the only one that holds its secret.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid` if the URL cannot be used or there are too many.
    pub async fn create_webhook(&self, request: &WebhookRequest) -> Result<WebhookCreated, Error> {
        self.transport.json("create a webhook", self.transport.post("/v1/webhooks").json(request)).await
    }

    /// The caller's webhooks; everybody's to an owner of the server.
    ///
    /// # Errors
    /// As every call.
    pub async fn webhooks(&self) -> Result<WebhookList, Error> {
        self.transport.json("list webhooks", self.transport.get("/v1/webhooks")).await
    }

    /// A webhook.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn webhook(&self, webhook: WebhookId) -> Result<Webhook, Error> {
        self.transport.json("read a webhook", self.transport.get(&format!("/v1/webhooks/{webhook}"))).await
    }

    /// Changes where a webhook leads, what it hears of, and whether it hears anything.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `invalid`.
    pub async fn change_webhook(&self, webhook: WebhookId, change: &WebhookChange) -> Result<Webhook, Error> {
        let request = self.transport.patch(&format!("/v1/webhooks/{webhook}")).json(change);
        self.transport.json("change a webhook", request).await
    }

    /// Gives a webhook a new secret, which the answer alone holds. A second call gives another one.
    ///
    /// # Errors
    /// [`Error::Refused`] with `secrets_overlap` if too many earlier ones sign still, with `not_found`.
    pub async fn rotate_webhook(
        &self,
        webhook: WebhookId,
        rotation: WebhookRotation,
    ) -> Result<WebhookCreated, Error> {
        let request = self.transport.post(&format!("/v1/webhooks/{webhook}/rotate")).json(&rotation);
        self.transport.json("rotate a webhook's secret", request).await
    }

    /// Deletes a webhook with the record of its deliveries. A second call finds none.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn delete_webhook(&self, webhook: WebhookId) -> Result<(), Error> {
        let request = self.transport.delete(&format!("/v1/webhooks/{webhook}"));
        self.transport.empty("delete a webhook", request).await
    }

    /// A page of what a webhook was told, newest first; `cursor` is the last page's `next`.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn deliveries(
        &self,
        webhook: WebhookId,
        cursor: Option<DeliveryId>,
    ) -> Result<DeliveryList, Error> {
        let query = cursor.map(|cursor| format!("?cursor={cursor}")).unwrap_or_default();
        let request = self.transport.get(&format!("/v1/webhooks/{webhook}/deliveries{query}"));
        self.transport.json("list deliveries", request).await
    }

    /// Sends a delivery again, under the same id. A second call sends it once more.
    ///
    /// # Errors
    /// [`Error::Refused`] with `webhook_disabled`, `not_found`.
    pub async fn replay_delivery(&self, delivery: DeliveryId) -> Result<Delivery, Error> {
        let request = self.transport.post(&format!("/v1/deliveries/{delivery}/replay"));
        self.transport.json("send a delivery again", request).await
    }
}
