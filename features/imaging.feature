Feature: The images behind a verdict are really there
  A verdict names images by their DICOM UIDs. The archive is asked whether it holds them; they can be fetched and looked at,
  and a screening can require them. What could not be asked is never called absent.

  Background:
    Given an archive that holds the images of the example cohort
    And the example cohort is screened with the FLUTE criteria

  Scenario: everything is there
    When the archive is asked for the images
    Then all 12 studies are present

  Scenario Outline: something is missing
    Given the archive has lost <what> of example-01
    When the archive is asked for the images
    Then the images of example-01 are <state>
    And <named> are named as missing

    Examples:
      | what         | state   | named             |
      | one series   | partial | 1 series          |
      | one instance | partial | 1 instances       |
      | the study    | absent  | 0 series          |

  Scenario: the images of somebody else
    Given the record says that example-01 is patient EX9999
    When the archive is asked for the images
    Then the images of example-01 are patient-mismatch

  Scenario: the archive is down, and comes back
    Given the archive is down
    When the archive is asked for the images
    Then all 12 studies are unreachable
    When the archive comes back
    And the archive is asked for the images
    Then all 12 studies are present

  Scenario: from the criteria to a picture
    When the images of the included patients are fetched
    Then 16 files of 4 patients are there, each under its SOP Instance UID
    When pictures of them are asked for
    Then there are 8 pictures and a page that shows them

  Scenario: images that have to be held
    Given the archive has lost the study of example-01
    When the cohort is screened and images have to be held
    Then example-01 is excluded
    And example-06 is included

  Scenario: images that have to be held by an archive that is down
    Given the archive is down
    When the cohort is screened and images have to be held
    Then example-01 is undetermined
    And the reason of example-01 is images-unconfirmed
    And example-02 is excluded
