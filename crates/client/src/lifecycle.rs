//! What people do to a task beside its turns.

use legwork_domain::{AttemptId, ForkDraft, Retry, Task, TaskChange, TaskId, TaskView, Turn};

use crate::{Client, Error};

impl Client {
    /// Names a task or puts it away. With `version` only if it is still that one.
    ///
    /// # Errors
    /// [`Error::Refused`] with `other_version` if somebody changed it since, with `not_found`.
    pub async fn change_task(
        &self,
        task: TaskId,
        change: &TaskChange,
        version: Option<u64>,
    ) -> Result<Task, Error> {
        let mut request = self.transport.patch(&format!("/v1/tasks/{task}")).json(change);
        if let Some(version) = version {
            request = request.header("if-match", format!("\"{version}\""));
        }
        self.transport.json("change a task", request).await
    }

    /// Deletes a task, and stops what runs of it.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, also the second time.
    pub async fn delete_task(&self, task: TaskId) -> Result<(), Error> {
        self.transport.empty("delete a task", self.transport.delete(&format!("/v1/tasks/{task}"))).await
    }

    /// Makes a task that goes on from where a turn of the attempt ended. With the same key the answer is the same task.
    ///
    /// # Errors
    /// [`Error::Refused`] with `turn_open`, `no_snapshot` or `files_gone`.
    pub async fn fork(
        &self,
        attempt: AttemptId,
        draft: &ForkDraft,
        idempotency_key: &str,
    ) -> Result<TaskView, Error> {
        let request = self.transport.post(&format!("/v1/attempts/{attempt}/fork"));
        let request = request.header("idempotency-key", idempotency_key).json(draft);
        self.transport.json("fork an attempt", request).await
    }

    /// Queues what the attempt's last turn was asked once more. With the same key the answer is the same turn.
    ///
    /// # Errors
    /// [`Error::Refused`] with `turn_open` or `nothing_to_retry`.
    pub async fn retry(
        &self,
        attempt: AttemptId,
        retry: Retry,
        idempotency_key: &str,
    ) -> Result<Turn, Error> {
        let request = self.transport.post(&format!("/v1/attempts/{attempt}/retry"));
        let request = request.header("idempotency-key", idempotency_key).json(&retry);
        self.transport.json("retry a turn", request).await
    }
}
