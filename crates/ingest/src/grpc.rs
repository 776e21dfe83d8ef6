//! The gRPC door.

mod stream;

use std::pin::Pin;

use bus::Stored;
use chassis::Tasks;
use chassis::door::Caller;
use protocol::door::{Ingest, MOST_EVENTS, PublishRequest, PublishStreamRequest};
use protocol::v1::publish_result;
use protocol::v1::{PublishResponse, PublishResult, PublishStreamResponse};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::acceptor::{Acceptor, Answer, Origin};
use crate::error::Refusal;

pub(crate) struct Service {
    acceptor: Acceptor,
    tasks: Tasks,
}

impl Service {
    pub(crate) fn new(acceptor: Acceptor, tasks: Tasks) -> Self {
        Self { acceptor, tasks }
    }
}

#[tonic::async_trait]
impl Ingest for Service {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let origin = origin(&request);
        let PublishRequest { events, count } = request.into_inner();
        if !(1..=MOST_EVENTS).contains(&count) {
            return Err(Status::invalid_argument(format!(
                "events: expected 1 to {MOST_EVENTS} events in a request, found {count}"
            )));
        }
        let events = events.into_iter().map(|event| self.acceptor.decode(event));
        let answers = self.acceptor.accept_all(events, &origin).await;
        if let [Answer { id, outcome: Err(refusal), .. }] = answers.as_slice() {
            return Err(refusal.status(id));
        }
        if let Some(refusal) = over_quota(&answers) {
            return Err(refusal.status(""));
        }
        if let Some(status) = not_confirmed(&answers) {
            return Err(status);
        }
        let results = answers.into_iter().map(PublishResult::from).collect();
        Ok(Response::new(PublishResponse { results }))
    }

    type PublishStreamStream =
        Pin<Box<dyn Stream<Item = Result<PublishStreamResponse, Status>> + Send>>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let origin = origin(&request);
        let answers =
            stream::answer(self.acceptor.clone(), &self.tasks, origin, request.into_inner());
        Ok(Response::new(Box::pin(answers)))
    }
}

/// The refusal of a batch of which everything is over its account's quota.
pub(crate) fn over_quota(answers: &[Answer]) -> Option<&Refusal> {
    let refusals = answers.iter().map(|answer| answer.outcome.as_ref().err());
    let over = |refusal: Option<&'_ Refusal>| refusal.is_some_and(Refusal::is_over_quota);
    if refusals.clone().all(over) { refusals.flatten().last() } else { None }
}

/// The status of a batch of which the broker did not confirm everything: the
/// caller sends the whole of it again, and what was stored is then a duplicate.
fn not_confirmed(answers: &[Answer]) -> Option<Status> {
    let passing = || {
        let refusals = answers.iter().filter_map(|answer| answer.outcome.as_ref().err());
        refusals.filter(|refusal| refusal.is_brokers())
    };
    // One that may or may not be stored weighs more than one that surely is not.
    let worst = passing()
        .find(|refusal| matches!(refusal, Refusal::Unavailable(_)))
        .or_else(|| passing().next())?;
    let message = format!(
        "{} of {} events were not confirmed; send the whole request again, with the same ids: \
         {worst}",
        passing().count(),
        answers.len()
    );
    let mut status = worst.status("");
    status = Status::with_details_and_metadata(
        status.code(),
        message,
        bytes::Bytes::copy_from_slice(status.details()),
        status.metadata().clone(),
    );
    Some(status)
}

impl From<Answer> for PublishResult {
    fn from(answer: Answer) -> Self {
        use publish_result::Status;
        let status = match &answer.outcome {
            Ok(Stored::New) => Status::Stored,
            Ok(Stored::Duplicate) => Status::Duplicate,
            Err(refusal) if refusal.is_passing() => Status::Unavailable,
            Err(_) => Status::Rejected,
        };
        let error = answer.outcome.as_ref().err().map(Into::into);
        Self { id: answer.id, status: status.into(), error }
    }
}

fn origin<T>(request: &Request<T>) -> Origin {
    let unknown = Caller::default();
    let caller = request.extensions().get().unwrap_or(&unknown);
    Origin::of(caller, |name| request.metadata().get(name).and_then(|value| value.to_str().ok()))
}
