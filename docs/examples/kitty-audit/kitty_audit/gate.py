"""The gate: what was found is written down, and nothing of it is open."""

from kitty_host.records import Candidate, Gate

FILE = "findings.md"


def no_finding_is_open(candidate: Candidate) -> Gate:
    """Look at the file as it would land, and not as it is in somebody's checkout."""
    repo, mission = candidate.mission.repo, candidate.mission
    path = (mission.directory / FILE).relative_to(repo.root).as_posix()
    content = repo.git.read_blob(candidate.tip, path)
    if content is None:
        return Gate("audit-findings", ok=False, reason=f"{FILE} is not there")
    still = [line for line in content.decode(errors="replace").splitlines() if line.lstrip().startswith("- [ ]")]
    return Gate("audit-findings", ok=not still, reason=f"{len(still)} open in {FILE}" if still else "")
