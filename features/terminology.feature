Feature: Value sets are what they are known to be, no more and no less
  A criterion asks whether a code is in a value set. Where that cannot be told, nobody is silently in or out.

  Background:
    Given the criterion "a smoker" asks for a condition in the value set http://example.org/tobacco

  Scenario: a value set that is missing is named before anybody is screened
    When a patient with the code t is screened
    Then the criteria have an error: the value set 'Tobacco' (http://example.org/tobacco) was not given
    And the patient is undetermined because of missing-valueset

  Scenario Outline: a value set that is known only in part
    Given version 1 of the value set lists t, and all below smoking in a code system that was not given
    When a patient with the code <code> is screened
    Then the patient is <verdict>

    Examples:
      | code              | verdict                                   |
      | t                 | included                                  |
      | x                 | undetermined because of missing-valueset  |
      | x of another system | excluded                                |

  Scenario: the code system decides what was in doubt
    Given version 1 of the value set lists t, and all below smoking in a code system that was not given
    And the code system is given, with x below smoking
    When a patient with the code x is screened
    Then the patient is included
    When a patient with the code y is screened
    Then the patient is excluded

  Scenario: of two versions the latest is taken, and the choice is told
    Given version 1 of the value set lists t
    And version 2 of the value set lists u
    When a patient with the code t is screened
    Then the patient is excluded
    And the criteria have a warning: given in several versions (1, 2); 2 is used

  Scenario: a manifest fixes the version
    Given version 1 of the value set lists t
    And version 2 of the value set lists u
    And a manifest that names version 1
    When a patient with the code t is screened
    Then the patient is included
    And the criteria have no findings
    And the run tells that version 1 of the value set was used

  Scenario: a terminology server expands what the files do not hold
    Given a terminology server that knows the value set, with t
    When a patient with the code t is screened
    Then the patient is included
    And the run tells that version 5 of the value set was used
