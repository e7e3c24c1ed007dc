Feature: FLUTE patients are screened by the written rule
  A patient with an abnormal digital rectal examination or a PSA of at least 3 ng/mL is included
  when there is an MR study within the year before the biopsy.
  Patients without MR images before the biopsy, or with images from more than a year before it, are excluded.
  Where the record does not tell, the patient is undetermined, and the reason is named.

  Background:
    Given a patient with a PSA of 5.2 ng/mL
    And a biopsy on 2026-03-01

  Scenario: images within the window
    Given an MR study started 2026-01-20T09:00:00Z
    When the patient is screened
    Then the patient is included
    And the images that met the criterion are named by their DICOM UIDs

  Scenario Outline: images outside of the window
    Given an MR study started <started>
    When the patient is screened
    Then the patient is excluded
    And the images were looked at and did not meet the criterion

    Examples:
      | started              | because           |
      | 2024-11-02T09:00:00Z | too old           |
      | 2026-03-09T09:00:00Z | after the biopsy  |

  Scenario: CT instead of MR
    Given a CT study started 2026-01-20T09:00:00Z
    When the patient is screened
    Then the patient is excluded
    And CT is named as what was seen

  Scenario: CT is enough where any modality is
    Given a CT study started 2026-01-20T09:00:00Z
    When the patient is screened for images of any modality
    Then the patient is included

  Scenario Outline: a date known only to the month
    Given an MR study started <month>
    When the patient is screened
    Then the patient is <verdict>

    Examples:
      | month   | verdict      |
      | 2025-02 | excluded     |
      | 2025-03 | undetermined |
      | 2025-04 | included     |

  Scenario: a month on the edge is named as the reason
    Given an MR study started 2025-03
    When the patient is screened
    Then the reason is imprecise-date

  Scenario: a study without a date
    Given an MR study without a date
    When the patient is screened
    Then the patient is undetermined
    And the reason is missing-value

  Scenario: no biopsy
    Given an MR study started 2026-01-20T09:00:00Z
    And there was no biopsy
    When the patient is screened
    Then the patient is excluded

  Scenario: a biopsy without a date
    Given an MR study started 2026-01-20T09:00:00Z
    And the date of the biopsy is not recorded
    When the patient is screened
    Then the patient is undetermined
    And the reason is missing-value

  Scenario: two biopsies, one of them within a year of the images
    Given an MR study started 2023-05-20T09:00:00Z
    And another biopsy on 2023-06-01
    When the patient is screened
    Then the patient is included

  Scenario Outline: PSA in other units
    Given an MR study started 2026-01-20T09:00:00Z
    And the PSA is <value> <unit>
    When the patient is screened
    Then the patient is <verdict>

    Examples:
      | value | unit  | verdict  |
      | 5000  | pg/mL | included |
      | 2900  | pg/mL | excluded |
      | 5     | ug/L  | included |
      | 3.0   | ng/mL | included |

  Scenario: a PSA whose unit is text without a code
    Given an MR study started 2026-01-20T09:00:00Z
    And the PSA is 5.2 with the unit text ng/mL and no code
    When the patient is screened
    Then the patient is included
    And the evidence tells how the unit was read

  Scenario: a PSA without any unit
    Given an MR study started 2026-01-20T09:00:00Z
    And the PSA is 5.2 without a unit
    When the patient is screened
    Then the patient is undetermined
    And the reason is missing-unit

  Scenario: a preliminary PSA does not count
    Given an MR study started 2026-01-20T09:00:00Z
    And the PSA is preliminary
    When the patient is screened
    Then the patient is excluded

  Scenario: no PSA was ever measured
    Given an MR study started 2026-01-20T09:00:00Z
    And there is no PSA
    When the patient is screened
    Then the patient is undetermined
    And the reason is no-data
