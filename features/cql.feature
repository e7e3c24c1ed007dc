Feature: Authors of CQL see what it means and what is wrong
  One expression is evaluated at once; a library is compiled with all of its problems in one go; criteria may be written in CQL.

  Scenario: an expression
    When I evaluate "months between @2024-01-15 and @2024-06-01"
    Then the answer is "4  (Integer)"

  Scenario: an expression about a patient
    When I evaluate "AgeInYears() > 40" for the first patient of the example cohort
    Then the answer is "true  (Boolean)"

  Scenario: an answer that is only known to lie in a range
    When I evaluate "years between @2000 and @2018-06-01"
    Then the answer is "between 17 and 18  (Integer)"

  Scenario: a mistake is shown where it is, with what to write
    When I evaluate "Summ({ 1, 2 })"
    Then it is refused with "there is no function 'Summ'"
    And the hint is "did you mean 'Sum'?"

  Scenario: all problems of a library in one go
    Given a library
      """
      library Broken version '1'
      define A: 1 + 'x'
      define B: Nothing
      define C: First({ 1, 2 }
      define D: 5
      """
    When I compile it
    Then it is refused with "expected"
    Given a library
      """
      library Broken version '1'
      define A: 1 + true
      define B: Nothing
      define D: 5
      """
    When I compile it
    Then it is refused with "+ cannot take (Integer, Boolean)"
    And it is refused with "there is nothing called 'Nothing' here"

  Scenario: the written rule in CQL screens the example cohort as it does in FHIRPath
    When the example cohort is screened with criteria/flute/mr and with criteria/flute/cql/mr
    Then both give every patient the same verdict and the same images
