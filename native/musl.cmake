# Programs on musl: static, a tenth of what glibc brings along, and next to nothing that a process must write to before
# it does its work. Such a program is built by a compiler of its own, with flags of its own: nothing that is meant for the
# rest of the tree, sanitizers for instance, gets into it.
#
#   musl_program(NAME SOURCES file... DEPENDS file... FLAGS flag...)      makes ${CMAKE_BINARY_DIR}/NAME
find_program(MUSL_GCC musl-gcc REQUIRED)

# The kernel's headers are not musl's; as the last place to look they cannot shadow any of it.
set(MUSL_KERNEL_HEADERS -idirafter /usr/include)
if(CMAKE_LIBRARY_ARCHITECTURE)
  list(APPEND MUSL_KERNEL_HEADERS -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
endif()

function(musl_program NAME)
  cmake_parse_arguments(PARSE_ARGV 1 PROGRAM "" "" "SOURCES;DEPENDS;FLAGS")
  set(output ${CMAKE_BINARY_DIR}/${NAME})
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${MUSL_GCC} -std=gnu17 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wvla -fstack-protector-strong
            -ffunction-sections -D_GNU_SOURCE ${FORKD_PREFIX_MAP} ${PROGRAM_FLAGS} ${MUSL_KERNEL_HEADERS} -Wl,--gc-sections -o ${output}
            ${PROGRAM_SOURCES}
    DEPENDS ${PROGRAM_SOURCES} ${PROGRAM_DEPENDS}
    VERBATIM)
  add_custom_target(${NAME}-program ALL DEPENDS ${output})
endfunction()
