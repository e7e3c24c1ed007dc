Feature: Patients come from a FHIR server
  A whole cohort is exported once and screened as often as needed; a small one is screened on the server itself.
  Either way the verdicts are those of the files, and a server that gives too little or too much is never believed.

  Background:
    Given a FHIR server with the example cohort

  Scenario: an export is screened like the files
    When the cohort is exported
    And the export is screened
    Then the verdicts are those of the files

  Scenario: only what the criteria read is exported
    When the cohort is exported for the criteria
    Then the server was asked for the types Endpoint, ImagingStudy, Observation, Patient, Procedure
    And the server was asked for procedures with the codes of examination and biopsy

  Scenario: an export that breaks off is finished by the same command
    Given the server goes away in the middle of a file
    When the cohort is exported
    Then the command fails and no half file is to be seen
    When the server is back
    And the cohort is exported
    Then the server has made one export
    And the part that was there already was not fetched again
    When the export is screened
    Then the verdicts are those of the files

  Scenario: a small cohort is screened on the server
    When the server is screened
    Then the verdicts are those of the files

  Scenario: a server that leaves out what it does not know
    Given the server knows no search by patient and leaves it out
    When the server is screened
    Then no verdict differs from those of the files but by being undetermined, and each patient is named

  Scenario: pages that lead in a circle
    Given the pages of the server's procedures lead in a circle
    When the server is screened
    Then no verdict differs from those of the files but by being undetermined, and each patient is named

  Scenario: credentials stay with the server
    Given a token in the environment
    And the server keeps its files elsewhere, for anyone with the link
    When the cohort is exported with the token
    Then the server has seen the token
    And the keeper of the files has not
    And the token is in no file
