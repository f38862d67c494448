"""One conversation from its first line to its last: reads, asks, shows, and outlives whatever goes wrong in between."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from cli.chat import reports
from cli.chat.commands import Ask, Invocation, Unknown, help_rows, log_argument, parse
from cli.chat.interrupts import Interrupts
from cli.chat.screen import Screen
from facts.programs.characters import complaint
from facts.programs.golden import asked, is_right
from operate import clusters
from operate.api import application_of
from operate.chat.answer import STOPPED, Answer, Piece
from operate.chat.conversation import Conversation
from operate.chat.failures import ChatError, ContextFull, Unreachable
from operate.chat.link import Link
from operate.chat.nodes import title
from operate.clusters import ClusterInventory
from operate.errors import DOES_NOT_HOLD, HOLDS, INTERRUPTED, OperatorError

HOW_TO_LEAVE = "`quit` or Ctrl-D leaves; Ctrl-C stops an answer"


class Session:
    """`conversation` is changed as it goes on; `models` are the names last heard, for completion."""

    def __init__(
        self,
        cluster: ClusterInventory,
        link: Link,
        conversation: Conversation,
        screen: Screen,
        interrupts: Interrupts,
    ) -> None:
        self._cluster, self._link, self._conversation = cluster, link, conversation
        self._screen, self._interrupts = screen, interrupts
        self._nodes: list[str] = [host.name for host in cluster.hosts]
        self._failed = False
        self.models: list[str] = []

    def greet(self) -> None:
        """Look whether somebody is there; a session begins in any case."""
        try:
            with self._interrupts.stoppable():
                self._list_models()
        except KeyboardInterrupt:
            return
        except (ChatError, OperatorError) as error:
            self._screen.problem(str(error))
            self._link.renew()
            return
        if self._conversation.model not in self.models:
            self._screen.problem(
                f"{self._conversation.model} is not served; there are {', '.join(self.models) or 'no models'}"
            )

    def run(self) -> int:
        """Until the end of the input. Exit status: 0, 1 when an answer failed, 130 when a pipe was interrupted."""
        while True:
            try:
                with self._interrupts.stoppable():
                    line = self._screen.read()
            except EOFError:
                break
            except KeyboardInterrupt:
                if self._screen.ends_on_interrupt:
                    return INTERRUPTED
                self._screen.say(HOW_TO_LEAVE)
                continue
            meant = parse(line, self._nodes)
            wrong = complaint(line)
            if wrong:
                self._screen.problem(f"this line is no text: {wrong}; Up brings it back")
                self._failed = True
            elif isinstance(meant, Ask):
                answer = self.ask(meant.text)
                if answer.finish_reason == STOPPED and self._screen.ends_on_interrupt:
                    return INTERRUPTED
            elif isinstance(meant, Unknown):
                self._screen.problem(f"no command {meant.word}; `help` lists them, `/ask {meant.word} ...` sends it")
            elif isinstance(meant, Invocation):
                if meant.name == "quit":
                    break
                if self._obey(meant) and self._screen.ends_on_interrupt:
                    return INTERRUPTED
        return DOES_NOT_HOLD if self._failed else HOLDS

    def ask(self, question: str) -> Answer:
        """Ask within the conversation. The turn is kept when there is an answer, be it one that was stopped."""
        talk, dropped = self._conversation, 0
        self._screen.begin()
        while True:
            answer = self._exchange(question, talk.request(question))
            if not (isinstance(answer.cause, ContextFull) and talk.turns):
                break
            talk.turns.pop(0)
            dropped += 1
        self._screen.end(answer, self._who(answer))
        if dropped:
            left_out = "oldest turn is" if dropped == 1 else f"{dropped} oldest turns are"
            self._screen.problem(f"the conversation is longer than the model can read: its {left_out} left out")
        if answer.error:
            self._failed = True
        elif answer.answer:
            talk.turns.append((question, answer.answer))
        return answer

    def _who(self, answer: Answer) -> str:
        """The node of an answer. One that is not known may have joined since the inventory was read."""
        if answer.node and answer.node not in self._nodes:
            with contextlib.suppress(OperatorError):
                self._cluster = clusters.read(self._cluster.given)
                self._nodes[:] = [host.name for host in self._cluster.hosts]
        return title(self._cluster, answer.node, answer.address)

    def _exchange(self, question: str, body: dict[str, Any], *, shown: bool = True) -> Answer:
        answer = Answer(question, time.monotonic(), model=body["model"])

        def hear(piece: Piece) -> None:
            if shown:
                with self._interrupts.held():
                    self._screen.piece(piece)

        try:
            with self._interrupts.stoppable():
                api = self._link.api()
                answer.started = time.monotonic()
                api.stream(body, answer, hear)
        except KeyboardInterrupt:
            answer.finish_reason = STOPPED
        except (ChatError, OperatorError) as error:
            answer.error, answer.cause = str(error), error
            if isinstance(error, Unreachable):
                self._link.renew()
        return answer

    def _obey(self, command: Invocation) -> bool:
        """Whether the operator stopped it."""
        try:
            with self._interrupts.stoppable():
                getattr(self, f"_do_{command.name.replace('-', '_')}")(command.argument)
        except KeyboardInterrupt:
            self._screen.say(f"{command.name}: stopped")
            return True
        except (ChatError, OperatorError) as error:
            self._screen.problem(str(error))
            if isinstance(error, Unreachable):
                self._link.renew()
        return False

    def _do_help(self, _argument: str) -> None:
        self._screen.table("", ("command", "does"), help_rows())
        self._screen.say(f"Anything else is sent to the model. {HOW_TO_LEAVE}. Alt-Enter begins another line.")

    def _do_status(self, _argument: str) -> None:
        unsaid = ""
        try:
            state = reports.cluster_state(self._cluster, self._link.api())
        except (ChatError, OperatorError) as error:
            state, unsaid = None, str(error)
        reports.status(self._cluster, self._screen, state)
        if unsaid:
            self._screen.problem(unsaid)

    def _do_actors(self, _argument: str) -> None:
        try:
            replicas = reports.cluster_state(self._cluster, self._link.api())["replicas"]
        except (ChatError, OperatorError) as error:
            self._screen.problem(f"{error}; asking the engines themselves")
            replicas = reports.engines(self._cluster, self._screen)
        reports.actors(self._cluster, self._screen, replicas)

    def _do_logs(self, argument: str) -> None:
        asked = log_argument(argument, self._nodes)
        if asked is None:
            raise ChatError(f"logs {argument}: give a node ({', '.join(self._nodes)}) and a number of lines up to 9999")
        reports.logs(self._cluster, self._screen, *asked)

    def _do_test(self, _argument: str) -> None:
        """The golden question outside the conversation, once for each replica; the gateway chooses who answers."""
        served = application_of(self._cluster, self._conversation.model)
        golden = served.model.golden
        question, expected = asked(golden), str(golden.get("expected", ""))
        talk = Conversation(served.model.name, max_tokens=int(golden["max_tokens"]))
        right, wanted, answered = 0, served.serving.replicas, set()
        self._screen.say(question)
        for _ in range(wanted):
            answer = self._exchange(question, talk.request(question), shown=False)
            if answer.finish_reason == STOPPED:
                raise KeyboardInterrupt
            correct = not answer.error and is_right(expected, answer.answer)
            right += correct
            who = self._who(answer)
            answered.add(who)
            said = answer.error or f"{' '.join(answer.answer.split())!r} from {who} in {self._seconds(answer)}"
            (self._screen.say if correct else self._screen.problem)(f"{'✓' if correct else '✗'} {said}")
        self._failed |= right < wanted
        self._screen.say(
            f"{right} of {wanted} right, from {len(answered)} nodes; the gateway chose them, "
            f"`{self._cluster.command} verify` asks every engine on its own"
        )

    def _do_new(self, _argument: str) -> None:
        self._conversation.turns.clear()
        self._screen.say("another conversation begins; system prompt and model stay")

    def _do_system(self, argument: str) -> None:
        if argument:
            self._conversation.system = "" if argument == "off" else argument
        said = self._conversation.system
        self._screen.say(f"system prompt: {said}" if said else "no system prompt")

    def _do_model(self, argument: str) -> None:
        self._list_models()
        if argument and argument not in self.models:
            raise ChatError(f"model {argument!r} is not served; there are {', '.join(self.models) or 'none'}")
        if argument:
            self._conversation.model = argument
        for name in self.models:
            self._screen.say(f"{'*' if name == self._conversation.model else ' '} {name}")

    def _do_temperature(self, argument: str) -> None:
        if argument:
            value = _number(argument, float)
            if value is None or not 0 <= value <= 2:
                raise ChatError(f"temperature {argument}: give a number from 0 to 2")
            self._conversation.temperature = value
        self._screen.say(f"temperature {self._conversation.temperature:g}")

    def _do_max_tokens(self, argument: str) -> None:
        if argument:
            value = _number(argument, int)
            if value is None or value < 1:
                raise ChatError(f"max-tokens {argument}: give a whole number from 1")
            self._conversation.max_tokens = int(value)
        self._screen.say(f"at most {self._conversation.max_tokens} tokens an answer")

    def _list_models(self) -> None:
        self.models = self._link.api().models()

    @staticmethod
    def _seconds(answer: Answer) -> str:
        return f"{time.monotonic() - answer.started:.2f} s, first token {answer.ttft_seconds or 0:.2f} s"


def _number(text: str, kind: type[float] | type[int]) -> float | None:
    try:
        return kind(text)
    except ValueError:
        return None
