//! A long stream of events, with many on their way to the broker at once.

use std::collections::VecDeque;
use std::pin::pin;

use chassis::Tasks;
use futures_util::future::Either;
use futures_util::stream::{self, FuturesOrdered, StreamExt as _};
use protocol::door::PublishStreamRequest;
use protocol::v1::PublishStreamResponse;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::acceptor::{Acceptor, Answer, Origin, in_turn};

/// Events of one stream that were taken and not answered yet.
const WINDOW: usize = 1024;

type Message = Result<PublishStreamResponse, Status>;

/// Answers a stream of events, in their order.
///
/// Events are checked one after the other and stored side by side. The work
/// goes on in a task of its own: a caller that does not read its answers is
/// read from no further, and what it has on its way holds no slot for longer
/// than the broker takes.
pub(super) fn answer(
    acceptor: Acceptor,
    tasks: &Tasks,
    origin: Origin,
    incoming: Streaming<PublishStreamRequest>,
) -> impl Stream<Item = Message> + use<> {
    let (answers, outgoing) = mpsc::channel(64);
    tasks.spawn(pump(acceptor, tasks.clone(), origin, incoming, answers));
    ReceiverStream::new(outgoing)
}

async fn pump(
    acceptor: Acceptor,
    tasks: Tasks,
    origin: Origin,
    incoming: Streaming<PublishStreamRequest>,
    answers: mpsc::Sender<Message>,
) {
    let reading = stream::unfold(incoming, |mut incoming| {
        let (acceptor, origin) = (&acceptor, &origin);
        async move { Some((next(acceptor, origin, &mut incoming).await, incoming)) }
    });
    let mut reading = pin!(reading);
    let mut storing = FuturesOrdered::new();
    let mut ready: VecDeque<Answer> = VecDeque::new();
    // How the stream ends, once nothing more is taken.
    let mut end: Option<Result<(), Status>> = None;
    while end.is_none() || !storing.is_empty() || !ready.is_empty() {
        let has_room = storing.len() + ready.len() < WINDOW;
        tokio::select! {
            Some(answer) = storing.next() => ready.push_back(Answer::counted(answer)),
            place = answers.reserve(), if !ready.is_empty() => {
                // Whoever hangs up asks for no answers; what is on its way is stored all the same.
                let Ok(place) = place else { break };
                if let Some(answer) = ready.pop_front() {
                    let result = Some(answer.into());
                    place.send(Ok(PublishStreamResponse { result }));
                }
            }
            Some(read) = reading.next(), if end.is_none() && has_room => match read {
                Read::Event(storing_it) => storing.push_back(storing_it),
                Read::End(how) => end = Some(how),
            },
            () = tasks.stopping(), if end.is_none() => {
                end = Some(Err(Status::unavailable(
                    "this server is stopping; open a new stream, and send again what was not \
                     answered, with the same ids",
                )));
            }
        }
    }
    // Only after a hang-up is anything left here.
    while let Some(answer) = storing.next().await {
        answer.counted();
    }
    if let Some(Err(status)) = end {
        // When nobody listens any more there is nobody to tell.
        let _ = answers.send(Err(status)).await;
    }
}

enum Read<F> {
    Event(F),
    End(Result<(), Status>),
}

/// Reads one event and checks it. Storing it is left to the future that comes
/// back, which is begun in the order of the events, so that of two with the
/// same id the second is the duplicate.
async fn next(
    acceptor: &Acceptor,
    origin: &Origin,
    incoming: &mut Streaming<PublishStreamRequest>,
) -> Read<impl Future<Output = Answer> + use<>> {
    let event = match incoming.message().await {
        Ok(Some(request)) => acceptor.decode(request.event),
        Ok(None) => return Read::End(Ok(())),
        Err(status) => return Read::End(Err(status)),
    };
    let mut resolver = acceptor.resolver();
    let storing = match acceptor.prepare(event, origin, &mut resolver).await {
        Ok(prepared) => {
            let slot = acceptor.slot().await;
            let acceptor = acceptor.clone();
            Either::Left(in_turn(async move { acceptor.publish(prepared, slot).await }))
        }
        Err(answer) => Either::Right(std::future::ready(answer)),
    };
    Read::Event(storing)
}
