"""What a workspace keeps of buckets of patients: what archives are asked about them and answer, and the patients themselves when they are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from fhir_eligibility.data.bulk.records import SummedFile
from fhir_eligibility.runners.large.earlier import EarlierPatients
from fhir_eligibility.runners.large.judged_file import Entry, JudgedFile, JudgedWriter, OrderedFile
from fhir_eligibility.runners.large.kept import BucketDone, FileDone, TakenDone
from fhir_eligibility.runners.large.problem_runs import ProblemShelf
from fhir_eligibility.runners.large.questions import Question, read_questions, write_questions
from fhir_eligibility.runners.large.taken_file import Known, TakenFile, write_taken
from fhir_eligibility.runners.large.whole_files import WholeFiles


class KeptQuestions:
    """What archives are asked, bucket by bucket, and what they answer. All methods raise OSError."""

    def __init__(self, files: WholeFiles) -> None:
        self.files = files

    def has(self, bucket: int) -> bool:
        """Whether it is written down what is to be asked about a bucket."""
        return (self.files.folder / f"asked-{bucket}").exists()

    def put(self, bucket: int, questions: Iterable[Question]) -> None:
        """Write down what is to be asked about the patients of a bucket."""
        with self.files.whole(f"questions-{bucket}") as out:
            write_questions(out, questions)
        self.files.write(f"asked-{bucket}", FileDone(out.size, out.sum))

    def questions(self, bucket: int) -> Iterator[Question]:
        """What is to be asked about the patients of a bucket."""
        return read_questions(self.files.folder / f"questions-{bucket}")

    def answers(self, bucket: int) -> Path:
        """Where the answers are."""
        return self.files.folder / f"answers-{bucket}"


class KeptBuckets:
    """Buckets of patients that are judged. All methods raise OSError."""

    def __init__(self, files: WholeFiles) -> None:
        self.files = files

    def has(self, number: int) -> bool:
        """Whether a bucket is judged."""
        return (self.files.folder / f"bucket-{number}").exists()

    def put(
        self,
        number: int,
        patients: Iterable[Entry],
        texts: int,
        problems: ProblemShelf,
        outcome: Callable[[], bytes],
        taken: TakenDone | None = None,
    ) -> int:
        """Keep the patients of a bucket, judged, with so many texts each, in order; gives how many they are.

        `problems` are those that come up meanwhile, `outcome` gives what the patients come to when all are there, `taken` are those of `put_taken`.
        """
        out, written = self._put_judged(f"judged-{number}", patients, texts)
        problems.spill()
        lengths = tuple(written.lengths)
        done = BucketDone(out.size, out.sum, written.patients, lengths, problems.runs, outcome(), taken)
        self.files.write(f"bucket-{number}", done)
        return done.total

    def put_taken(
        self, number: int, known: Sequence[Known], packed: bytes, members: Sequence[Sequence[bytes]], row_size: int
    ) -> TakenDone:
        """Keep the patients of a bucket who are taken over, as `write_taken` has them."""
        with self.files.whole(f"taken-{number}") as out:
            done = write_taken(out, known, packed, members, row_size)
        return msgspec.structs.replace(done, size=out.size, sum=out.sum)

    def put_batch(self, number: int, batch: int, patients: Iterable[Entry], texts: int) -> JudgedFile:
        """Write some patients of a bucket that is looked at in batches."""
        name = f"judged-{number}-{batch}"
        _, written = self._put_judged(name, patients, texts)
        return JudgedFile(self.files.folder / name, written.patients, tuple(written.lengths))

    def _put_judged(self, name: str, patients: Iterable[Entry], texts: int) -> tuple[SummedFile, JudgedWriter]:
        with self.files.whole(name) as out:
            written = JudgedWriter(out, texts)
            for entry in patients:
                written.add(entry)
            written.finish()
        return out, written

    def done(self, number: int) -> BucketDone:
        """What a bucket came to."""
        found: BucketDone = self.files.read(f"bucket-{number}", BucketDone)
        return found

    def judged(self, number: int) -> JudgedFile:
        """The patients of a bucket."""
        done = self.done(number)
        return JudgedFile(self.files.folder / f"judged-{number}", done.patients, done.lengths)

    def all_of(self, numbers: Iterable[int], earlier: EarlierPatients | None) -> list[OrderedFile]:
        """The patients of some buckets: those who were judged, and those who are taken over from an earlier run."""
        found: list[OrderedFile] = []
        for number in numbers:
            found.append(self.judged(number))
            taken = self.done(number).taken
            if taken is not None and earlier is not None:
                found.append(TakenFile(self.files.folder / f"taken-{number}", taken.patients, taken.lengths, earlier))
        return found
